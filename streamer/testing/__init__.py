"""Tools for tests of your own: certify a model, and run without Kafka, Redis or waiting.

``check_model(lambda: MyModel(length=5))`` raises an AssertionError that says which rule is broken.
"""

from streamer.simulation.broker import ManualClock, MemoryBroker, MemorySink, MemorySource
from streamer.testing.model_checks import MODEL_CHECKS, ModelCheck, NewModels, check_model

__all__ = [
    "MODEL_CHECKS",
    "ManualClock",
    "MemoryBroker",
    "MemorySink",
    "MemorySource",
    "ModelCheck",
    "NewModels",
    "check_model",
]
