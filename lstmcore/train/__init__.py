"""Turning the weights: optimizers, clipping, schedules, batches, the loop, and saving what came of it."""

from lstmcore.layers.without_dx import without_dx
from lstmcore.train.callbacks.callback import Callback, EarlyStopping, Freeze
from lstmcore.train.callbacks.checkpoints import Checkpoints
from lstmcore.train.callbacks.epoch_files import Records
from lstmcore.train.callbacks.noise import GradientNoise, add_noise
from lstmcore.train.callbacks.schedule import Constant, Cosine, Exponential, Plateau, Step, WarmUp
from lstmcore.train.callbacks.tracker import Tracker
from lstmcore.train.callbacks.watchers import TrainingWarning, watchers
from lstmcore.train.data.batch import Batch
from lstmcore.train.data.batches import Batches, pad
from lstmcore.train.data.stream import Stream
from lstmcore.train.evaluate import evaluate
from lstmcore.train.files.model_file import load, save
from lstmcore.train.find_lr import RangeTest, find_lr
from lstmcore.train.loop import fit
from lstmcore.train.metrics import Counted, Finished, accuracy, mean_absolute_error, perplexity
from lstmcore.train.ranks import Ranks
from lstmcore.train.recorded_step import RecordedStep
from lstmcore.train.run import History, Run
from lstmcore.train.truncated import truncated_gradients
from lstmcore.train.update.clip import clip_by_global_norm, clip_by_value, global_norm
from lstmcore.train.update.optimizers import SGD, Adadelta, Adagrad, Adam, AdamW, Momentum, Nesterov, RMSProp

__all__ = [
    "SGD", "Adadelta", "Adagrad", "Adam", "AdamW", "Batch", "Batches", "Callback", "Checkpoints", "Constant", "Cosine",
    "Counted", "EarlyStopping", "Exponential", "Finished", "Freeze", "GradientNoise", "History", "Momentum", "Nesterov",
    "Plateau", "RMSProp", "RangeTest", "Ranks", "RecordedStep", "Records", "Run", "Step", "Stream", "Tracker",
    "TrainingWarning", "WarmUp", "accuracy", "add_noise", "clip_by_global_norm", "clip_by_value", "evaluate", "find_lr",
    "fit", "global_norm", "load", "mean_absolute_error", "pad", "perplexity", "save", "truncated_gradients", "watchers",
    "without_dx",
]  # fmt: skip
