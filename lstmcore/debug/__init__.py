"""Tools that watch, prove and explain. Layers never import them."""

from lstmcore.debug.case import Case, load_case, save_case
from lstmcore.debug.compare import Comparison, compare, trace
from lstmcore.debug.derivatives import Derivative, hvp, jvp, rtrl
from lstmcore.debug.diagnose import Diagnosis, diagnose, diagnose_case
from lstmcore.debug.exercise import Exercise, judge_exercise, write_exercise
from lstmcore.debug.explain import EXAMPLES, Explanation, explain, explain_case, explain_step
from lstmcore.debug.flow import Flow, flow
from lstmcore.debug.gradcheck import GradCheck, gradcheck, gradcheck_function
from lstmcore.debug.jacobian import (
    Memory,
    jacobian,
    lyapunov_exponents,
    memory,
    memory_horizon,
    singular_values,
    step_jacobians,
)
from lstmcore.debug.ledger import Ledger, ledger
from lstmcore.debug.padding import PaddingProof, padding
from lstmcore.debug.record import Record, record
from lstmcore.debug.report import Report, report, report_case
from lstmcore.debug.tripwire import Tripwire, tripwire
from lstmcore.debug.truncation import Truncation, truncation
from lstmcore.debug.watch import Watch, watch
from lstmcore.layers.seen import strict

__all__ = [
    "EXAMPLES",
    "Case",
    "Comparison",
    "Derivative",
    "Diagnosis",
    "Exercise",
    "Explanation",
    "Flow",
    "GradCheck",
    "Ledger",
    "Memory",
    "PaddingProof",
    "Record",
    "Report",
    "Tripwire",
    "Truncation",
    "Watch",
    "compare",
    "diagnose",
    "diagnose_case",
    "explain",
    "explain_case",
    "explain_step",
    "flow",
    "gradcheck",
    "gradcheck_function",
    "hvp",
    "jacobian",
    "judge_exercise",
    "jvp",
    "ledger",
    "load_case",
    "lyapunov_exponents",
    "memory",
    "memory_horizon",
    "padding",
    "record",
    "report",
    "report_case",
    "rtrl",
    "save_case",
    "singular_values",
    "step_jacobians",
    "strict",
    "trace",
    "tripwire",
    "truncation",
    "watch",
    "write_exercise",
]
