"""A measurement as one HTML file: for a reader who has ten minutes."""

from igsref.report.page import write_report as write_report
