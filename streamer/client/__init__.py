"""What users import: publish events, follow recommendations, ask and get an answer."""

from streamer.client.publisher import Publisher
from streamer.client.recommender import Recommender
from streamer.client.subscriber import Subscriber
from streamer.events import Pin, RequestRow

__all__ = ["Pin", "Publisher", "Recommender", "RequestRow", "Subscriber"]
