"""The sections of the configuration: every key with its type, default, range and meaning.

``docs/configuration.md`` is generated from this file; loading is in :mod:`streamer.config`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from streamer.config.bandit import BanditConfig
from streamer.config.bridges import DEFAULT_BRIDGES, BridgeConfig
from streamer.config.events import DEFAULT_EVENTS, EventConfig
from streamer.config.experiments import DEFAULT_EXPERIMENTS, ExperimentConfig
from streamer.config.features import DEFAULT_FEATURES, FeatureConfig
from streamer.config.files import DEFAULT_FILES, FileConfig
from streamer.config.http import HttpConfig
from streamer.config.objectives import DEFAULT_OBJECTIVES, ObjectiveConfig
from streamer.config.rules import DEFAULT_RULES, RuleConfig
from streamer.config.section import Rows, Section
from streamer.config.slate import SlateConfig
from streamer.events import EventTypes
from streamer.events.messages import EMBEDDING_MAX

PositiveS = Annotated[float, Meta(gt=0, le=31_536_000)]
"""Seconds, up to a year."""
Share = Annotated[float, Meta(ge=0, le=1)]
TopicName = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9._-]{1,200}$")]
TopicRole = Literal[
    "events",
    "items",
    "users",
    "requests",
    "recommendations",
    "decisions",
    "features",
    "dead_letters",
]


class KafkaConfig(Section, frozen=True, kw_only=True):
    """The broker."""

    bootstrap_servers: Annotated[
        str, Meta(description="host:port, separated by commas; empty: the embedded broker")
    ] = ""
    embedded_port: Annotated[
        int,
        Meta(
            ge=0,
            le=65_535,
            description="on which the embedded broker of `streamer up` is found; 0: any",
        ),
    ] = 0
    group: Annotated[
        str, Meta(min_length=1, max_length=200, description="prefix of the consumer groups")
    ] = "streamer"
    request_timeout_s: Annotated[
        PositiveS, Meta(description="how long a broker may take, and at a start the store too")
    ] = 30.0
    client: Annotated[
        dict[str, str],
        Meta(description='librdkafka options for every client, such as "security.protocol"'),
    ] = field(default_factory=dict)


class TopicsConfig(Section, frozen=True, kw_only=True):
    """Names and shape of the topics."""

    events: Annotated[TopicName, Meta(description="what users do")] = "events"
    items: Annotated[TopicName, Meta(description="what can be recommended")] = "items"
    users: Annotated[
        TopicName, Meta(description="what users say of themselves; it may be missing")
    ] = "users"
    requests: Annotated[TopicName, Meta(description="who wants recommendations")] = "requests"
    recommendations: Annotated[TopicName, Meta(description="the answers")] = "recommendations"
    decisions: Annotated[TopicName, Meta(description="the answers, for evaluation")] = "decisions"
    features: Annotated[TopicName, Meta(description="windowed features, the latest of each")] = (
        "features"
    )
    dead_letters: Annotated[TopicName, Meta(description="messages that could not be used")] = (
        "dead-letters"
    )
    prefix: Annotated[
        str, Meta(pattern=r"^[a-zA-Z0-9._-]{0,40}$", description="put before every name")
    ] = ""
    partitions: Annotated[
        int, Meta(ge=1, le=1024, description="of every topic but items and dead letters; fixed")
    ] = 4
    replication_factor: Annotated[int, Meta(ge=1, le=16, description="copies of each")] = 1
    retention_hours: Annotated[
        int,
        Meta(
            ge=1, le=876_000, description="how long messages are kept (items and users: for ever)"
        ),
    ] = 168
    compression: Annotated[
        Literal["zstd", "lz4", "snappy", "gzip", "uncompressed", "producer"],
        Meta(description="compression.type of topics that are made; `producer`: as they come"),
    ] = "zstd"

    def topic(self, role: TopicRole) -> str:
        """Name on the broker, prefix included."""
        name: str = getattr(self, role)
        return self.prefix + name


class StoreConfig(Section, frozen=True, kw_only=True):
    """Where parameters are kept."""

    url: Annotated[
        str,
        Meta(
            pattern=r"^((rediss?|redis\+cluster)://.+|sqlite:.+|memory:)$",
            description="redis://host:port/db, rediss: (TLS), redis+cluster:, sqlite:PATH, memory:",
        ),
    ] = "sqlite:streamer.db"
    key_prefix: Annotated[
        str, Meta(pattern=r"^[a-zA-Z0-9._:-]{1,100}$", description="of every key in Redis")
    ] = "streamer"
    timeout_s: Annotated[PositiveS, Meta(description="how long the store may take")] = 5.0
    log_entries_kept: Annotated[
        int, Meta(ge=1, le=10_000_000, description="delta log left to followers, a partition")
    ] = 200
    log_bytes_max: Annotated[
        int,
        Meta(
            ge=1_000_000,
            le=100_000_000_000,
            description="delta log a partition; rows are written, and it is trimmed, before that",
        ),
    ] = 64_000_000
    schedule_entries_max: Annotated[
        int, Meta(ge=1, le=100_000_000, description="recorded commits kept, a partition")
    ] = 1_000_000


class RegistryConfig(Section, frozen=True, kw_only=True):
    """The schema registry that bridges of Avro and Protobuf ask (docs/bridge.md)."""

    url: Annotated[
        str,
        Meta(
            pattern=r"^(https?://\S+)?$",
            description="of Confluent's API, several separated by commas",
        ),
    ] = ""
    user: Annotated[str, Meta(description='of basic authentication; "": none')] = ""
    password: Annotated[str, Meta(description="of that user")] = ""
    ca_file: Annotated[
        str, Meta(description='certificates that sign the registry\'s, as PEM; "": the usual ones')
    ] = ""
    timeout_s: Annotated[PositiveS, Meta(description="how long it may take to answer")] = 5.0
    client: Annotated[
        dict[str, str],
        Meta(description='more options of its client, such as "ssl.certificate.location"'),
    ] = field(default_factory=dict)


class LearnerConfig(Section, frozen=True, kw_only=True):
    """How events are taken and committed."""

    model: Annotated[
        Literal["implicit", "explicit"],
        Meta(description="implicit: rank what people take up; explicit: predict ratings"),
    ] = "implicit"
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1, description="of all chance")] = 0
    sync_interval_ms: Annotated[
        int, Meta(ge=1, le=60_000, description="longest time between two commits")
    ] = 20
    batch_messages_max: Annotated[
        int, Meta(ge=1, le=1_000_000, description="most messages taken in one step")
    ] = 20_000
    checkpoint_interval_s: Annotated[
        PositiveS, Meta(description="how often the delta log is folded into the tables")
    ] = 10.0
    checkpoint_rows_max: Annotated[
        Rows, Meta(description="changed rows after which it is folded earlier")
    ] = 200_000
    dedup_window: Annotated[
        int,
        Meta(ge=0, le=10_000_000, description="messages a partition in which an id may not repeat"),
    ] = 100_000
    users_max: Annotated[Rows, Meta(description="users a partition")] = 200_000
    items_max: Annotated[Rows, Meta(description="items a partition")] = 100_000
    feature_rows_max: Annotated[
        Rows, Meta(description="users, items and surfaces a partition, each, that features are of")
    ] = 200_000
    user_sightings_min: Annotated[
        int, Meta(ge=1, le=1_000, description="events before a user gets a row")
    ] = 1
    item_sightings_min: Annotated[
        int, Meta(ge=1, le=1_000, description="events before an item gets a row")
    ] = 1
    idle_expiry_s: Annotated[
        float,
        Meta(ge=0, le=3_153_600_000, description="drop ids without events for so long; 0: never"),
    ] = 0.0


class MFConfig(Section, frozen=True, kw_only=True):
    """Matrix factorization."""

    factors: Annotated[int, Meta(ge=1, le=512, description="numbers a user and an item")] = 32
    loss: Annotated[
        Literal["softmax", "bpr", "logistic"], Meta(description="of the implicit model")
    ] = "softmax"
    learning_rate: Annotated[float, Meta(gt=0, le=10, description="of AdaGrad")] = 0.15
    regularization: Annotated[
        float, Meta(ge=0, le=0.09, description="weight decay, times learning_rate a step")
    ] = 0.0
    n_negatives: Annotated[int, Meta(ge=1, le=1_000, description="drawn for each event")] = 10
    recent_share: Annotated[
        Share, Meta(description="of the negatives from recent events; the rest uniform")
    ] = 0.0
    recent_items: Annotated[
        int, Meta(ge=1, le=1_000_000, description="recent events they are drawn from")
    ] = 16_384
    init_scale: Annotated[
        float, Meta(ge=0, le=10, description="standard deviation of new factors")
    ] = 0.1
    history: Annotated[int, Meta(ge=1, le=1_024, description="last items kept of each user")] = 64
    seen: Annotated[
        int,
        Meta(
            ge=0,
            le=16_384,
            description="last items of each user that are not recommended again, 8 B each, where"
            " that is more than `history`; 0: those of `history`",
        ),
    ] = 0


class PopularityConfig(Section, frozen=True, kw_only=True):
    """Counts that fade."""

    half_lives_s: Annotated[
        tuple[PositiveS, ...],
        Meta(min_length=1, max_length=8, description="after which a count is half, each its own"),
    ] = (300.0, 4_800.0, 76_800.0, 1_228_800.0, 19_660_800.0)


class PracticeConfig(Section, frozen=True, kw_only=True):
    """Learning the ranking from plain events: what would have been recommended, what was taken."""

    share: Annotated[
        Share, Meta(description="of positive events that the blend practises on; 0: none")
    ] = 1.0
    time_share: Annotated[
        Share,
        Meta(
            description="of the wall clock that a learner practises at most, under load; 1: as "
            "long as it takes, so that what is learned does not depend on the clock"
        ),
    ] = 0.1


class CatalogueConfig(Section, frozen=True, kw_only=True):
    """What is learned of items from what the catalogue says of them."""

    fields: Annotated[
        tuple[
            Annotated[
                str, Meta(min_length=1, max_length=256, examples=["categories", "tags", "brand"])
            ],
            ...,
        ],
        Meta(
            max_length=16,
            description="fields whose values items share: `categories`, `tags`, `title` (its"
            " words), or names of attributes (of numbers, the nearer the more is shared); []: none",
        ),
    ] = ("categories", "tags", "brand", "year")
    embedding: Annotated[
        int,
        Meta(
            ge=0,
            le=EMBEDDING_MAX,
            description="numbers of the `embedding` of an item (`recall.content`); 0: embeddings"
            " are not used",
        ),
    ] = 0


class FunnelConfig(Section, frozen=True, kw_only=True):
    """How candidates are put in order."""

    ranker: Annotated[
        Literal["bandit", "blend"],
        Meta(
            description="what orders them: the bandit over the blend, or the blend alone, which "
            "explores nothing and learns nothing of a bandit. A model of river ranks in a process "
            "of its own only (`streamer replay --model river:EXPRESSION`, `RiverRanker`): it can't "
            "be committed, merged or verified"
        ),
    ] = "bandit"


class ScorerConfig(Section, frozen=True, kw_only=True):
    """How requests are answered."""

    k_default: Annotated[int, Meta(ge=1, le=500, description="items where a request says none")] = (
        10
    )
    poll_ms: Annotated[
        int,
        Meta(
            ge=1,
            le=10_000,
            description="how long to wait for a request before new items are looked for; one that"
            " comes is taken at once",
        ),
    ] = 250


class JoinConfig(Section, frozen=True, kw_only=True):
    """How feedback finds the decision it answers."""

    window_s: Annotated[
        PositiveS,
        Meta(
            description="an item shown so long ago without feedback counts as not taken; feedback "
            "that comes later amends it exactly, so this may be short"
        ),
    ] = 10.0
    horizon_s: Annotated[
        PositiveS, Meta(description="later feedback no longer changes what was learned")
    ] = 86_400.0
    lateness_s: Annotated[
        PositiveS, Meta(description="how far messages of a partition may be out of order")
    ] = 60.0
    default_reward: Annotated[
        float, Meta(ge=-1_000, le=1_000, description="of an item shown and not taken")
    ] = 0.0
    unanswered: Annotated[
        Literal["teaches nothing", "counts"],
        Meta(
            description="a slate without any feedback or impression: nobody may have seen it, or "
            "(`counts`) all of it was seen and not taken"
        ),
    ] = "teaches nothing"
    combine: Annotated[
        Literal["sum", "max", "first"],
        Meta(description="reward of an item with several events, e.g. a click and a purchase"),
    ] = "sum"
    match_without_request: Annotated[
        Literal["never", "reported", "always"],
        Meta(
            description="whether an event without request_id answers the one slate that showed its "
            "user the item, at most window_s before: only one of which something was reported by "
            "request_id, or any"
        ),
    ] = "reported"
    decisions_max: Annotated[
        int, Meta(ge=1, le=10_000_000, description="decisions a partition that wait for feedback")
    ] = 20_000
    feedback_max: Annotated[
        int,
        Meta(
            ge=1,
            le=10_000_000,
            description="events a partition that wait for a decision; without request_id a tenth",
        ),
    ] = 100_000
    ahead_max_s: Annotated[
        PositiveS,
        Meta(description="how far events or decisions may be read ahead of the other"),
    ] = 10.0


class WindowsConfig(Section, frozen=True, kw_only=True):
    """How features over windows of event time are computed, by `streamer features run`."""

    default_features: Annotated[
        bool, Meta(description="have the default set; a table of the same name changes one of it")
    ] = True
    lateness_s: Annotated[
        PositiveS,
        Meta(description="how late events may be; a window is final so long after its end"),
    ] = 30.0
    idle_s: Annotated[
        PositiveS,
        Meta(description="a partition without events for so long holds no window open"),
    ] = 10.0
    flush_ms: Annotated[
        int, Meta(ge=1, le=60_000, description="longest time that events wait to be taken together")
    ] = 100
    batch_messages_max: Annotated[
        int, Meta(ge=1, le=10_000, description="most events of a partition taken together")
    ] = 500
    commit_interval_s: Annotated[
        PositiveS, Meta(description="how often a worker commits; after a crash so much is redone")
    ] = 2.8
    dedup_window: Annotated[
        int,
        Meta(ge=0, le=10_000_000, description="messages a partition in which an id may not repeat"),
    ] = 100_000
    cells_max: Annotated[
        Rows, Meta(description="sums kept of a feature and partition; more keys are not counted")
    ] = 5_000_000
    store: Annotated[
        Literal["memory", "rocksdb"],
        Meta(description="where a worker keeps the records it restores sums from"),
    ] = "memory"
    store_folder: Annotated[
        str,
        Meta(description="of RocksDB, on a local disk; several workers may be given the same one"),
    ] = ""


class MetricsConfig(Section, frozen=True, kw_only=True):
    """What Prometheus sees."""

    host: Annotated[
        str,
        Meta(
            min_length=1,
            description="address to serve metrics on; `0.0.0.0`: for every other machine",
        ),
    ] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65_535, description="to serve metrics on; 0: off")] = 0


class LogsConfig(Section, frozen=True, kw_only=True):
    """How processes log, to stderr."""

    format: Annotated[
        Literal["text", "json"],
        Meta(description="`text`: `time level event field=value`; `json`: an object a line"),
    ] = "text"


class Config(Section, frozen=True, kw_only=True):
    """All settings, by section, and where each came from.

    Attributes
    ----------
    recall
        Sections of recall channels by name; one that is not there has its defaults.
    events, objectives, features, rules, files, bridges, experiments
        By name, the default ones among them.
    origins
        Dotted key → ``default``, the path of the file, ``environment STREAMER_…`` or ``flag``.
    """

    kafka: KafkaConfig = KafkaConfig()
    topics: TopicsConfig = TopicsConfig()
    store: StoreConfig = StoreConfig()
    registry: RegistryConfig = RegistryConfig()
    learner: LearnerConfig = LearnerConfig()
    mf: MFConfig = MFConfig()
    popularity: PopularityConfig = PopularityConfig()
    practice: PracticeConfig = PracticeConfig()
    catalogue: CatalogueConfig = CatalogueConfig()
    funnel: FunnelConfig = FunnelConfig()
    scorer: ScorerConfig = ScorerConfig()
    recall: dict[str, Section] = field(default_factory=dict)
    join: JoinConfig = JoinConfig()
    bandit: BanditConfig = BanditConfig()
    slate: SlateConfig = SlateConfig()
    metrics: MetricsConfig = MetricsConfig()
    logs: LogsConfig = LogsConfig()
    http: HttpConfig = HttpConfig()
    windows: WindowsConfig = WindowsConfig()
    events: dict[str, EventConfig] = field(default_factory=lambda: dict(DEFAULT_EVENTS))
    objectives: dict[str, ObjectiveConfig] = field(default_factory=lambda: dict(DEFAULT_OBJECTIVES))
    features: dict[str, FeatureConfig] = field(default_factory=lambda: dict(DEFAULT_FEATURES))
    rules: dict[str, RuleConfig] = field(default_factory=lambda: dict(DEFAULT_RULES))
    files: dict[str, FileConfig] = field(default_factory=lambda: dict(DEFAULT_FILES))
    bridges: dict[str, BridgeConfig] = field(default_factory=lambda: dict(DEFAULT_BRIDGES))
    experiments: dict[str, ExperimentConfig] = field(
        default_factory=lambda: dict(DEFAULT_EXPERIMENTS)
    )
    origins: dict[str, str] = field(default_factory=dict)

    @property
    def event_types(self) -> EventTypes:
        """The types of ``events``, with their codes."""
        return EventTypes(tuple(self.events))
