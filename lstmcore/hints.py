"""What people who know PyTorch or Keras type, and its name here: one line in place of Python's own message.

Nothing here runs unless something is wrong: an argument, a method or a name that does not exist.
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import ParamSpec, TypeVar

Given = ParamSpec("Given")
Answer = TypeVar("Answer")

STACK = "several layers are lc.Stack([lc.LSTM(I, H), lc.LSTM(H, H)])"
BOTH = "two directions are lc.Bidirectional(lc.LSTM(I, H), lc.LSTM(I, H))"
PARAMS = 'they are in layer.params, a live mapping: layer.params["W_ih"] = array'
PADDING = "padding is told by mask=, (T, B), true on real steps: lc.mask_from_lengths(lengths, T)"
RNG = "dropout is drawn where forward or fit gets rng=, and nowhere else"
NOT_SUMMED = "gradients are returned by backward, and nothing adds up between calls"
CLIP = "lc.fit(..., clip=1.0), or lc.clip_by_global_norm(grads, 1.0)"
STEP = "opt.step(model.params, grads)"
FIT = "lc.fit(model, loss, batches, opt, epochs=10)"
BATCHES = "lc.Batches(x, targets, batch_size=32)"
CALL = "y, state, cache = layer.forward(x); to use it alone, y, state = layer.predict(x)"
ON_GPU = "lc.to_gpu(model) and lc.to_cpu(model) give a twin there"

SAME = {  # arguments -> what they are called elsewhere
    "input_size": "in_features input_dim n_in",
    "hidden_size": "units num_units n_units hidden hidden_dim hidden_units n_hidden",
    "output_size": "units out_features output_dim embedding_dim n_out",
    "classes": "num_embeddings input_dim vocab_size num_classes",
    "bias": "use_bias",
    "activation": "nonlinearity",
    "gate_activation": "recurrent_activation",
    "p": "rate prob dropout",
    "seed": "random_state rng generator",
    "rng": "seed random_state generator",
    "fw": "layer forward_layer",
    "bw": "backward_layer",
    "merge": "merge_mode",
    "lr": "learning_rate step_size",
    "beta1": "beta_1 b1",
    "beta2": "beta_2 b2",
    "eps": "epsilon",
    "rho": "alpha decay",
    "weight_decay": "l2 l2_reg",
    "loss": "criterion loss_fn loss_function",
    "batches": "data train_data loader dataloader train_loader",
    "opt": "optimizer optim",
    "epochs": "num_epochs n_epochs max_epochs",
    "validation": "validation_data val_data val_loader",
    "schedule": "scheduler lr_scheduler",
    "clip": "max_norm max_grad_norm clip_norm grad_clip clipnorm global_clipnorm",
    "progress": "verbose",
    "targets": "y labels",
    "path": "file filename filepath f",
    "model": "layers layer net network obj",
}

ARGUMENTS = {  # what functions and constructors do not take -> how it is said
    "num_layers n_layers layers": STACK,
    "bidirectional": BOTH,
    "go_backwards reverse": "lc.Reversed(lc.LSTM(I, H))",
    "batch_first time_major": "arrays are time-major, (T, B, I): x.transpose(1, 0, 2), or lc.BatchFirst(model)",
    "dropout": "it is a layer: lc.Stack([lc.LSTM(I, H), lc.Dropout(p)])",
    "recurrent_dropout zoneout": "lc.RecurrentDropout(lc.LSTM(I, H), h=p), zoneout_h=p",
    "activation recurrent_activation nonlinearity": "it is a layer: lc.Stack([lc.Linear(I, O), lc.Tanh()])",
    "kernel_initializer recurrent_initializer bias_initializer unit_forget_bias": f"assign what you like: {PARAMS}",
    "return_state stateful": "forward and predict return the state, and start from the one that they are given",
    "device map_location": ON_GPU,
    "lengths mask_zero padding_idx mask_value": PADDING,
    "input_shape batch_input_shape": "give input_size, the width of the input alone",
    "betas": "one by one: beta1=0.9, beta2=0.999",
    "momentum": "it is an optimizer: lc.Momentum(lr=0.01, momentum=0.9)",
    "nesterov": "it is an optimizer: lc.Nesterov(lr=0.01, momentum=0.9)",
    "amsgrad": "docs/extend.md adds it as an optimizer",
    "params": f"the parameters come with each step: {STEP}; or the model with all: {FIT}",
    "clipnorm clipvalue global_clipnorm max_norm": f"gradients are clipped before the step: {CLIP}",
    "x y batch_size shuffle": f"batches have it: {BATCHES}",
    "validation_split": f"cut the data yourself, and give validation={BATCHES}",
    "lr learning_rate": "the optimizer has it: lc.Adam(lr=0.001)",
}

LAYERS = {  # what layers do not have
    "train eval training": f"{RNG}; predict draws none",
    "parameters named_parameters weights trainable_variables trainable_weights get_weights": PARAMS,
    "W_ih W_hh b W weight bias kernel recurrent_kernel weight_ih_l0 weight_hh_l0 bias_ih_l0 bias_hh_l0": PARAMS,
    "state_dict load_state_dict set_weights": f"{PARAMS}; files are lc.save(path, layer) and lc.load(path)",
    "save save_weights": "lc.save(path, layer)",
    "load load_weights": "lc.load(path)",
    "zero_grad grad": NOT_SUMMED,
    "cuda cpu gpu": ON_GPU,
    "float double half astype": 'layer.to("float64") gives a twin in that dtype',
    "fit compile train_step train_on_batch": FIT,
    "evaluate": "lstmcore.train.evaluate(model, loss, batches)",
    "summary count_params": "print(layer), and sum(a.size for a in layer.params.values())",
    "children modules named_children named_modules": "layer.parts, by name",
    "add append add_module": STACK,
    "reset_states reset_state init_hidden": "state=None starts from zeros",
    "requires_grad_ trainable": "what has no gradient in opt.step is frozen: lstmcore.train.Freeze",
    "flatten_parameters": "nothing of the kind is needed",
}

OPTIMIZERS = {
    "zero_grad": NOT_SUMMED,
    "learning_rate param_groups": "opt.lr, which can be assigned",
    "state_dict load_state_dict get_config": "opt.state, which can be assigned",
    "apply_gradients apply minimize update": STEP,
}

PACKAGE = {
    "nn": "layers are in lstmcore itself: lc.LSTM, lc.Linear, ...",
    "optim optimizers": "optimizers are in lstmcore itself: lc.Adam, lc.SGD, ...",
    "Sequential Model Module": STACK,
    "Dense TimeDistributed": "lc.Linear(I, O), the same at every step",
    "BiLSTM BLSTM BiGRU": BOTH,
    "SimpleRNN": "lc.RNN(I, H)",
    "LSTMCell GRUCell RNNCell": "y, state = layer.step(x, state) is one step of any layer",
    "CrossEntropyLoss cross_entropy SparseCategoricalCrossentropy": "lc.softmax_cross_entropy(logits, targets)",
    "MSELoss mse_loss MeanSquaredError": "lc.squared_error(y, targets)",
    "RMSprop": "lc.RMSProp(lr=0.01)",
    "DataLoader Dataset TensorDataset": BATCHES,
    "pack_padded_sequence Masking": PADDING,
    "pad_sequence pad_sequences": "x, mask = lc.pad(sequences)",
    "clip_grad_norm_ clip_grad_norm": CLIP,
    "no_grad inference_mode": "y, state = layer.predict(x) keeps nothing for a backward pass",
    "manual_seed": "every layer has its own: lc.LSTM(I, H, seed=0)",
    "tensor from_numpy": "arrays are NumPy's or CuPy's; lc.from_dlpack(tensor) shares memory",
    "save_model": "lc.save(path, model)",
    "load_model": "lc.load(path)",
}


NEEDED = {
    "hidden_size": "lc.LSTM(I, H), the width of the input first",
    "bw": BOTH,
    "batch_size": BATCHES,
    "loss batches opt epochs": FIT,
}


def missing(owner: str, word: str, table: Mapping[str, str]) -> AttributeError:
    """The error for a name that does not exist, with its hint where the table has one."""
    hint = _in(table, word)
    return AttributeError(_line(f"{owner} has no", word, hint) if hint else f"{owner} has no attribute {word!r}")


def hinted(call: Callable[Given, Answer]) -> Callable[Given, Answer]:
    """The same function or constructor; what it is given wrongly by name, or not given, is a TypeError with a hint.

    A constructor that takes any name is asked what it knows: its class has `known_options()`, or all names will do.
    """
    arguments = inspect.signature(call).parameters.values()
    fixed = [a.name for a in arguments if a.kind is not a.VAR_KEYWORD]
    takes_any_name = len(fixed) < len(arguments)
    needed = {a.name for a in arguments if a.default is a.empty and a.kind not in (a.VAR_POSITIONAL, a.VAR_KEYWORD)}
    who = call.__name__

    @functools.wraps(call)
    def hinting(*given: Given.args, **by_name: Given.kwargs) -> Answer:
        owner = type(given[0]).__name__ if who == "__init__" else who
        names = fixed
        if takes_any_name:
            known = getattr(type(given[0]), "known_options", None) if given else None
            names = [*fixed, *(known() if known else by_name)]
        for word in by_name:
            if word not in names:
                raise TypeError(_line(f"{owner} has no", word, _argument(word, names)))
        for word in names[len(given) :]:
            if word in needed and word not in by_name:
                raise TypeError(_line(f"{owner} needs", word, _in(NEEDED, word) or _all(names)))
        return call(*given, **by_name)

    return hinting


def _argument(word: str, names: Sequence[str]) -> str:
    """How to say an argument of that name to a function that takes these."""
    same = next((name for name in names if word in SAME.get(name, "").split()), None)
    return f"it is called {same}" if same else _in(ARGUMENTS, word) or _all(names)


def _all(names: Sequence[str]) -> str:
    return f"there are {', '.join(name for name in names if name != 'self') or 'no arguments'}"


def _in(table: Mapping[str, str], word: str) -> str | None:
    return next((hint for words, hint in table.items() if word in words.split()), None)


def _line(who: str, word: str, hint: str) -> str:
    return f"{who} `{word}`: {hint}"
