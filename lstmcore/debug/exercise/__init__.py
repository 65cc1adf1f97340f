"""A backward pass with ten lines missing, and what is said of those that somebody writes."""

from lstmcore.debug.exercise.exercise import Exercise, judge_exercise, write_exercise

__all__ = ["Exercise", "judge_exercise", "write_exercise"]
