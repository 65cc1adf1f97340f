"""What only a GPU can show: `make gpu PART=tests|race|bench OUT=DIR`, each part within eight minutes.

__main__.py  what the machine must have, and which part runs
suite.py     tests: the suites on the engines that compute on a GPU
race.py      race: the same call a thousand times with threads that dawdle, bit for bit; NVIDIA's sanitizers
speed.py     bench: against torch.nn.LSTM, which is cuDNN, checked and then timed; contestants.py, timing.py
step.py      of bench: whole training steps
"""
