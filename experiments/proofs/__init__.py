"""Checks the Lean project: finds or fetches a Lean, elaborates every module, replays it through the kernel, audits it.

One room per idea: ``pins`` and ``registry`` (what is fetched and from where), ``patch`` (what is changed in it),
``toolchain`` (which Lean runs), ``tokens``, ``declarations`` and ``sources`` (what the files say), ``scan`` (what
their text may not say), ``runner`` and ``driver.lean`` (what Lean says), ``audit`` (what of it is allowed),
``manifest`` (what was agreed), ``store`` (what is known already), ``check`` (all of it), ``certificate`` and ``page``
(what follows).
"""
