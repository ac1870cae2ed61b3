"""Reading a run: estimators, summary, live display, the report page, the samples browser, the curve picture.

Everything here reads files of a run directory; nothing here trains.
"""
