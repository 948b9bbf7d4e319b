"""The console: pages of live and past calls, and a phone in the browser.

doors.py       the pages, downloads and buttons; guard.py lets in only who has logged in, sessions.py knows whom
live.py        all workers' calls in one picture, and the stream of events that keeps a page up to date
workers.py     the rows of living workers, which live.py and `python -m voice tail` look at
told.py        the story of a call from its record, for its page and for `python -m voice explain`
shown.py       what the templates are given: calls, turns, waterfalls; chart.py the waiting times as lines
exports.py     a list of calls as CSV
phone.py       the browser phone's page, its token and its stream
templates/     Jinja, escaped; static/ styles and scripts: no other server is asked for anything
"""
