"""Does a filter at work save energy? No filter, the filter and a placebo, in blocks of random order.

Each block runs every arm once: on an emulated miner in virtual time, or on any miner through the bridge. What counts is
measured: the difficulty of the shares that verified, and the energy that telemetry told. A share counts with the
difficulty that its job asks for, as a pool pays it; that of its hash has no variance and would drown everything.

A miner under way draws the same power whatever becomes of its work, so that replacing a job saves time, not power: in
the accounting of :mod:`tpf.energy` a candidate is a job, ``n`` its length and ``k`` the time until it is replaced.

``plan`` says what is done and ``result`` what came of it; ``virtual`` runs it in virtual time. In the bridge
``schedule`` leads a miner through it, ``live`` brings the miner in, and ``stored`` reads such a run back. ``service``
is a filter at work without a comparison.
"""
