"""The update rules, each beside its formula. What they share (checks, decay, memory) is in optimizer.py.

w is a parameter, dw its gradient (with the decay already in it), lr the learning rate, t = 1, 2, ... the step; m is a
running mean (or sum) of the gradient, v of its square. Where conventions differ, PyTorch's are followed, and the
docstring says so: the same numbers give the same weights as torch.optim.

A rule is stated once, pointwise, like a cell's step: the same text runs over whole arrays and, compiled, over single
numbers. So it holds no literal (which would widen float32); what depends on t alone is computed in `numbers`.
"""

from lstmcore.arrays import Array
from lstmcore.train.update.optimizer import Optimizer, Root, number


class SGD(Optimizer):
    """Gradient descent (Cauchy 1847), on batches: stochastic (Robbins & Monro 1951).

    w <- w - lr dw
    """

    def __init__(self, lr: float = 0.01, weight_decay: float = 0.0, l1: float = 0.0):
        super().__init__(lr, weight_decay, l1)

    def numbers(self, lr: float, t: int) -> tuple[float, ...]:
        return (lr,)

    @staticmethod
    def rule(sqrt: Root, w: Array, dw: Array, lr: float) -> tuple[Array, ...]:
        return (w - lr * dw,)


class Momentum(Optimizer):
    """The heavy ball (Polyak 1964; Sutskever et al. 2013, equations 1 and 2).

    m <- momentum m + dw
    w <- w - lr m

    PyTorch's convention, without dampening: lr stands outside the running sum. The papers keep lr m in place of m; the
    two agree as long as lr does not change.
    """

    slots: tuple[str, ...] = ("m",)

    def __init__(self, lr: float = 0.01, momentum: float = 0.9, weight_decay: float = 0.0, l1: float = 0.0):
        super().__init__(lr, weight_decay, l1)
        self.momentum: float = number("momentum", momentum, below=1)

    def numbers(self, lr: float, t: int) -> tuple[float, ...]:
        return lr, self.momentum

    @staticmethod
    def rule(sqrt: Root, w: Array, dw: Array, m: Array, lr: float, momentum: float) -> tuple[Array, ...]:
        m = momentum * m + dw
        return w - lr * m, m


class Nesterov(Optimizer):
    """Nesterov's accelerated gradient (Nesterov 1983; Sutskever et al. 2013, equations 3 and 4).

    m <- momentum m + dw
    w <- w - lr (dw + momentum m)

    In the form of Bengio, Boulanger-Lewandowski & Pascanu 2013 (section 3.5), where w is the point at which the
    gradient is taken; and, as in PyTorch, without dampening and with lr outside the running sum.
    """

    slots: tuple[str, ...] = ("m",)

    def __init__(self, lr: float = 0.01, momentum: float = 0.9, weight_decay: float = 0.0, l1: float = 0.0):
        super().__init__(lr, weight_decay, l1)
        self.momentum: float = number("momentum", momentum, below=1)

    numbers = Momentum.numbers

    @staticmethod
    def rule(sqrt: Root, w: Array, dw: Array, m: Array, lr: float, momentum: float) -> tuple[Array, ...]:
        m = momentum * m + dw
        return w - lr * (dw + momentum * m), m


class Adam(Optimizer):
    """Adaptive moment estimation (Kingma & Ba 2015, Algorithm 1, in the order of operations at the end of section 2).

    m <- beta1 m + (1 - beta1) dw
    v <- beta2 v + (1 - beta2) dw^2
    w <- w - lr mhat / (sqrt(vhat) + eps),   mhat = m / (1 - beta1^t),   vhat = v / (1 - beta2^t)

    eps is added to the root of the corrected vhat, as in Algorithm 1 and in PyTorch. t counts the steps of each
    parameter: one that was frozen for a while keeps its own correction.
    """

    beta1: float
    beta2: float
    slots: tuple[str, ...] = ("m", "v")

    def __init__(
        self,
        lr: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        l1: float = 0.0,
    ):
        super().__init__(lr, weight_decay, l1)
        self.beta1, self.beta2 = number("beta1", beta1, below=1), number("beta2", beta2, below=1)
        self.eps: float = number("eps", eps)

    def numbers(self, lr: float, t: int) -> tuple[float, ...]:
        # lr mhat / (sqrt(vhat) + eps), with the corrections drawn together into two numbers
        root = (1 - self.beta2**t) ** 0.5
        rate, eps = lr * root / (1 - self.beta1**t), root * self.eps
        return rate, self.beta1, 1 - self.beta1, self.beta2, 1 - self.beta2, eps

    @staticmethod
    def rule(
        sqrt: Root,
        w: Array,
        dw: Array,
        m: Array,
        v: Array,
        rate: float,
        beta1: float,
        rest1: float,
        beta2: float,
        rest2: float,
        eps: float,
    ) -> tuple[Array, ...]:
        m = beta1 * m + rest1 * dw
        v = beta2 * v + rest2 * dw * dw
        return w - rate * m / (sqrt(v) + eps), m, v


class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019, Algorithm 2).

    w <- (1 - lr weight_decay) w,   then as Adam

    As in PyTorch, lr multiplies the decay. In the paper only the schedule's multiplier does, so that its lambda is
    lr weight_decay here.
    """

    beta1: float
    beta2: float
    slots: tuple[str, ...] = ("m", "v")
    decoupled = True

    def __init__(
        self,
        lr: float = 1e-3,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        l1: float = 0.0,
    ):
        super().__init__(lr, weight_decay, l1)
        self.beta1, self.beta2 = number("beta1", beta1, below=1), number("beta2", beta2, below=1)
        self.eps: float = number("eps", eps)

    numbers, rule = Adam.numbers, staticmethod(Adam.rule)


class RMSProp(Optimizer):
    """Division by the running root mean square (Tieleman & Hinton 2012, lecture 6e of "Neural networks for machine
    learning", slide 29).

    v <- rho v + (1 - rho) dw^2
    w <- w - lr dw / (sqrt(v) + eps)

    eps outside the root and rho = 0.99, as in PyTorch. The lecture has rho = 0.9 and no eps; Keras puts eps inside.
    """

    rho: float
    eps: float
    slots: tuple[str, ...] = ("v",)

    def __init__(
        self, lr: float = 0.01, rho: float = 0.99, eps: float = 1e-8, weight_decay: float = 0.0, l1: float = 0.0
    ):
        super().__init__(lr, weight_decay, l1)
        self.rho, self.eps = number("rho", rho, below=1), number("eps", eps)

    def numbers(self, lr: float, t: int) -> tuple[float, ...]:
        return lr, self.rho, 1 - self.rho, self.eps

    @staticmethod
    def rule(
        sqrt: Root, w: Array, dw: Array, v: Array, lr: float, rho: float, rest: float, eps: float
    ) -> tuple[Array, ...]:
        v = rho * v + rest * dw * dw
        return w - lr * dw / (sqrt(v) + eps), v


class Adagrad(Optimizer):
    """Division by the root of all squares so far (Duchi, Hazan & Singer 2011, section 1.1, the diagonal version).

    v <- v + dw^2
    w <- w - lr dw / (sqrt(v) + eps)

    eps = 1e-10 outside the root and v = 0 at first, as in PyTorch. TensorFlow starts from v = 0.1.
    """

    slots: tuple[str, ...] = ("v",)

    def __init__(self, lr: float = 0.01, eps: float = 1e-10, weight_decay: float = 0.0, l1: float = 0.0):
        super().__init__(lr, weight_decay, l1)
        self.eps: float = number("eps", eps)

    def numbers(self, lr: float, t: int) -> tuple[float, ...]:
        return lr, self.eps

    @staticmethod
    def rule(sqrt: Root, w: Array, dw: Array, v: Array, lr: float, eps: float) -> tuple[Array, ...]:
        v = v + dw * dw
        return w - lr * dw / (sqrt(v) + eps), v


class Adadelta(Optimizer):
    """Steps in units of the steps before (Zeiler 2012, Algorithm 1).

    v     <- rho v + (1 - rho) dw^2
    delta  = sqrt(u + eps) / sqrt(v + eps) dw
    u     <- rho u + (1 - rho) delta^2
    w     <- w - lr delta

    eps inside both roots, as in the paper and in PyTorch. The paper has no lr, which is lr = 1; as in PyTorch it does
    not enter u. rho = 0.9 and eps = 1e-6 are PyTorch's; the paper's experiments take rho = 0.95.
    """

    rho: float
    eps: float
    slots: tuple[str, ...] = ("v", "u")

    def __init__(
        self, lr: float = 1.0, rho: float = 0.9, eps: float = 1e-6, weight_decay: float = 0.0, l1: float = 0.0
    ):
        super().__init__(lr, weight_decay, l1)
        self.rho, self.eps = number("rho", rho, below=1), number("eps", eps)

    def numbers(self, lr: float, t: int) -> tuple[float, ...]:
        return lr, self.rho, 1 - self.rho, self.eps

    @staticmethod
    def rule(
        sqrt: Root, w: Array, dw: Array, v: Array, u: Array, lr: float, rho: float, rest: float, eps: float
    ) -> tuple[Array, ...]:
        v = rho * v + rest * dw * dw
        delta = sqrt(u + eps) / sqrt(v + eps) * dw
        u = rho * u + rest * delta * delta
        return w - lr * delta, v, u
