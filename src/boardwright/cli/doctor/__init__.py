"""`boardwright doctor`: what is wrong with a node or the cluster, and what to do.

Rules:

* Facts are gathered in ``examine_*``: all at once, each bounded in time, nothing changed; what cannot be found out is
  a fact, too.
* Findings are judged in ``judge_*``: pure functions from facts, which never raise.
* Every check has a name (``finding.Check``), a meaning and a remedy in ``docs/operate/doctor.md``.
"""
