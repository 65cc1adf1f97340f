"""Loops to learn from without any data: backbone states drawn by rules that a network can find.

Each residue is in one of five regions of the Ramachandran plot. Which one depends on the residue, on both neighbours in
the sequence and on the state before; the angles scatter about the region's centre. As in collections of real loops,
some sequences occur several times, always with the same states.
"""

import numpy as np

from lstmcore.recipes.loops.torsions import ALPHABET, CHANNELS, Loops, from_angles

STATES = np.radians(  # (5, 2): phi and psi of the centres
    [
        [-65.0, -42.0],  # helix
        [-120.0, 135.0],  # strand
        [-70.0, 148.0],  # polyproline
        [58.0, 38.0],  # left-handed helix
        [85.0, -170.0],  # where glycine alone can go
    ]
)
CONCENTRATION = 14.0  # of the von Mises distribution about a centre: a standard deviation of 15 degrees
LETTERS = "ARNDCEQGHILKMFPSTYWV"
FREQUENT = {"G": 3.0, "S": 2.0, "N": 1.8, "D": 2.0, "P": 1.6, "T": 1.6, "Y": 1.5, "C": 0.4}  # 1 for the others
MADE_UP = 3000  # loops, where no data are given
SHORTEST, LONGEST = 4, 30
AGAIN = 0.45  # probability that a sequence comes once more


def generate(n: int = MADE_UP, seed: int = 0) -> Loops:
    """n loops, of about n / 1.8 sequences."""
    rng = np.random.default_rng(seed)
    shares = np.array([FREQUENT.get(letter, 1.0) for letter in LETTERS])
    sequences: list[str] = []
    angles: list[np.ndarray] = []
    while len(sequences) < n:
        length = min(LONGEST, SHORTEST + int(rng.geometric(0.12)) - 1)
        sequence = "".join(rng.choice(list(LETTERS), size=length, p=shares / shares.sum()))
        states = _draw(transitions(sequence), rng)
        for _ in range(min(int(rng.geometric(1 - AGAIN)), n - len(sequences))):
            scatter = rng.vonmises(0.0, CONCENTRATION, size=(length, 2))
            sequences.append(sequence)
            angles.append(STATES[states] + scatter)
    order = rng.permutation(n)
    return from_angles([sequences[k] for k in order], [angles[k] for k in order])


def transitions(sequence: str) -> np.ndarray:
    """(length, 5, 5): the probability of each state at each residue, given the state before (for the first: any row).

    p ~ exp(own[letter] + before[letter in front] + behind[letter after] + habit[state before]), tables as below.
    """
    letters = [ALPHABET.index(letter) for letter in sequence]
    scores = OWN[letters]
    scores[1:] += BEFORE[letters[:-1]]
    scores[:-1] += BEHIND[letters[1:]]
    logits = scores[:, None, :] + HABIT  # (length, from, to)
    logits[0] = scores[0]  # nothing comes before the first
    p = np.exp(logits)
    return p / p.sum(axis=-1, keepdims=True)


def best(loops: Loops) -> np.ndarray:
    """(N, T, 4): the mean of the channels given the sequence, which no network that reads it alone can beat.

    The probabilities of the states go forward along the loop; each state gives its centre, shortened by the scatter's
    mean resultant length I1(k) / I0(k) (Mardia & Jupp 2000, section 3.5.4).
    """
    around = np.arange(2000) * 2 * np.pi / 2000
    density = np.exp(CONCENTRATION * np.cos(around))
    shortened = np.sum(np.cos(around) * density) / np.sum(density)
    centres = shortened * np.stack([np.sin(STATES), np.cos(STATES)], axis=-1).reshape(len(STATES), len(CHANNELS))
    means = np.zeros((*loops.index.shape, len(CHANNELS)))
    for row, sequence in zip(means, loops.sequences):
        p = np.eye(len(STATES))[0]  # any: the first step does not depend on it
        for t, step in enumerate(transitions(sequence)):
            p = p @ step
            row[t] = p @ centres
    return means


def _draw(steps: np.ndarray, rng: np.random.Generator) -> list[int]:
    """One state per residue."""
    state, states = 0, []
    for step in steps:
        state = int(rng.choice(len(STATES), p=step[state]))
        states.append(state)
    return states


def _tables() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """OWN, BEFORE, BEHIND (21, 5): preferences for states, in units of log p. What chemistry dictates is set by hand:
    glycine alone goes where phi is positive and psi near 180, asparagine and aspartate go left-handed, proline has phi
    near -65 and turns the residue in front of it away from helix, branched side chains like strands. The rest is drawn,
    once for all.
    """
    rng = np.random.default_rng(2718)
    own, before, behind = rng.normal(size=(3, len(ALPHABET), len(STATES))) * np.array([0.8, 1.2, 1.2])[:, None, None]
    own += np.array([0.8, 0.6, 0.6, -1.6, -5.0])  # rare: left-handed, and more so glycine's own
    for letters, state, liking in (("G", 4, 5.5), ("G", 3, 2.5), ("ND", 3, 2.0), ("P", 2, 2.0), ("P", 0, 1.0)):
        own[[ALPHABET.index(letter) for letter in letters], state] += liking
    own[[ALPHABET.index(letter) for letter in "VIT"], 1] += 1.0
    own[ALPHABET.index("P"), [1, 3, 4]] -= 4.0
    behind[ALPHABET.index("P"), 0] -= 2.5
    return own, before, behind


OWN, BEFORE, BEHIND = _tables()
HABIT = np.array([1.6, 1.2, 0.8, 0.6, 0.0]) * np.eye(len(STATES))  # a state likes to stay
