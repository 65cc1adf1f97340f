"""Flax 0.12.8: a row of length 0 has the carry of all steps; NaN in the padding makes gradients NaN."""
import flax.linen as nn, jax, jax.numpy as jnp
x, rnn = jnp.ones((1, 3, 2)), nn.RNN(nn.LSTMCell(2), return_carry=True)
p = rnn.init(jax.random.key(0), x)
for n in (0, 3):
    print("length", n, "carry", rnn.apply(p, x, seq_lengths=jnp.array([n]))[0][0])
bad = x.at[0, 2].set(jnp.nan)
g = jax.grad(lambda p: rnn.apply(p, bad, seq_lengths=jnp.array([2]))[1][0, :2].sum())(p)
print("with NaN:", sum(bool(jnp.isnan(a).any()) for a in jax.tree.leaves(g)), "of", len(jax.tree.leaves(g)), "gradients")
