"""Features over windows of event time: computed from events, published, followed.

:mod:`streamer.features.engine` computes, live and in replay; :mod:`streamer.features.app` runs it
on Faust, which ``pip install 'streamer[features]'`` brings; :mod:`streamer.features.latest` is what
a reader of the `features` topic knows.
"""
