"""Turning the weights: optimizers, clipping, schedules, batches, the loop, and saving what came of it."""

from lstmcore.train.batches import Batch, Batches, pad
from lstmcore.train.callbacks import Callback, EarlyStopping, Freeze
from lstmcore.train.checkpoints import Checkpoints
from lstmcore.train.clip import clip_by_global_norm, clip_by_value, global_norm
from lstmcore.train.find_lr import RangeTest, find_lr
from lstmcore.train.loop import evaluate, fit
from lstmcore.train.model_file import load, save
from lstmcore.train.noise import GradientNoise, add_noise
from lstmcore.train.optimizers import SGD, Adadelta, Adagrad, Adam, AdamW, Momentum, Nesterov, RMSProp
from lstmcore.train.recorded import RecordedStep
from lstmcore.train.records import Records
from lstmcore.train.run import Run
from lstmcore.train.schedule import Constant, Cosine, Exponential, Plateau, Step, WarmUp
from lstmcore.train.stream import Stream
from lstmcore.train.watchers import TrainingWarning, watchers

__all__ = [
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Batch",
    "Batches",
    "Callback",
    "Checkpoints",
    "Constant",
    "Cosine",
    "EarlyStopping",
    "Exponential",
    "Freeze",
    "GradientNoise",
    "Momentum",
    "Nesterov",
    "Plateau",
    "RMSProp",
    "RangeTest",
    "RecordedStep",
    "Records",
    "Run",
    "Step",
    "Stream",
    "TrainingWarning",
    "WarmUp",
    "add_noise",
    "clip_by_global_norm",
    "clip_by_value",
    "evaluate",
    "find_lr",
    "fit",
    "global_norm",
    "load",
    "pad",
    "save",
    "watchers",
]
