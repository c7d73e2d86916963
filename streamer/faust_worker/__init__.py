"""Features over windows of event time: computed from events, published, followed.

:mod:`streamer.windows.engine` computes, live and in replay; :mod:`streamer.faust_worker.app` runs
it on Faust, which the extra ``features`` brings; :mod:`streamer.windows.latest` is
what a reader of the `features` topic knows.
"""
