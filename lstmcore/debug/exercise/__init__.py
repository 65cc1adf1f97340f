"""A step of a cell with its lines missing, and what is said of those that somebody writes."""

from lstmcore.debug.exercise.exercise import EXERCISES, Exercise, judge_exercise, write_exercise

__all__ = ["EXERCISES", "Exercise", "judge_exercise", "write_exercise"]
