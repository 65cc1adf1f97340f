"""All of it about one training step, as a page and as text."""

from lstmcore.debug.report.replay import report_case
from lstmcore.debug.report.report import Report, report

__all__ = ["Report", "report", "report_case"]
