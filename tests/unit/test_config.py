"""The configuration: who wins, what is refused and how it is said, what is never printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from streamer.config import Config, changed, describe, known_keys, load_config
from streamer.config.keys import OPTION_TABLES
from streamer.errors import ConfigError


def load(
    toml: str = "", *, env: dict[str, str] | None = None, path: Path, **flags: object
) -> Config:
    """The configuration of a file with this text; flags are named with ``__`` for the dot."""
    path.write_text(toml, encoding="utf-8")
    dotted = {name.replace("__", "."): value for name, value in flags.items()}
    return load_config(path, env=env or {}, flags=dotted)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "streamer.toml"


def refusal(toml: str = "", *, path: Path, **given: Any) -> str:
    with pytest.raises(ConfigError) as refused:
        load(toml, path=path, **given)
    return str(refused.value)


# --- who wins ---------------------------------------------------------------------------------


def test_later_sources_win_key_by_key(path: Path) -> None:
    toml = "[mf]\nfactors = 8\nn_negatives = 8\nhistory = 8\n"
    env = {"STREAMER_MF__N_NEGATIVES": "9", "STREAMER_MF__HISTORY": "9"}
    config = load(toml, env=env, path=path, mf__history=10)
    mf = config.mf
    assert (mf.recent_items, mf.factors, mf.n_negatives, mf.history) == (16_384, 8, 9, 10)
    keys = ("mf.recent_items", "mf.factors", "mf.n_negatives", "mf.history")
    assert [config.origins[key] for key in keys] == [
        "default",
        str(path),
        "environment STREAMER_MF__N_NEGATIVES",
        "flag",
    ]


def test_without_sources_all_is_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config(env={})
    assert config.learner == Config().learner
    assert set(config.origins.values()) == {"default"}
    assert set(config.origins) == set(known_keys()) - {*OPTION_TABLES}


def test_a_file_in_the_working_directory_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("streamer.toml").write_text("[metrics]\nport = 9090\n", encoding="utf-8")
    config = load_config(env={})
    assert config.metrics.port == 9090
    assert config.origins["metrics.port"] == "streamer.toml"


def test_the_environment_of_the_process_is_the_default(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREAMER_LEARNER__SEED", "41")
    path.touch()
    assert load_config(path).learner.seed == 41


def test_flags_not_given_change_nothing(path: Path) -> None:
    assert load(path=path, mf__factors=None).origins["mf.factors"] == "default"


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("learner.seed", "7", 7),
        ("mf.learning_rate", "1", 1.0),
        ("mf.learning_rate", "5e-2", 0.05),
        ("mf.loss", "logistic", "logistic"),
        ("store.url", "redis://h:1/0", "redis://h:1/0"),
        ("topics.prefix", "", ""),
        ("topics.events", "12", "12"),
        ("popularity.half_lives_s", "[60, 86400]", (60.0, 86400.0)),
        ("events.watch.value_range", "[]", ()),
        ("events.save.weight", "2", 2.0),
        ("events.click.weight", "-0.5", -0.5),
    ],
)
def test_every_source_reads_texts_alike(path: Path, key: str, text: str, value: object) -> None:
    variable = f"STREAMER_{key.upper().replace('.', '__')}"
    for config in (
        load(env={variable: text}, path=path),
        load_config(path, env={}, flags={key: text}),
        load_config(path, env={}, flags={key: value}),
    ):
        found: Any = config
        for part in key.split("."):
            found = found[part] if isinstance(found, dict) else getattr(found, part)
        assert found == value
        assert type(found) is type(value)


def test_client_options_come_from_tables_and_variables(path: Path) -> None:
    toml = """
    [kafka.client]
    security.protocol = "SSL"
    "socket.keepalive.enable" = true
    "fetch.min.bytes" = 5
    """
    env = {"STREAMER_KAFKA__CLIENT__SASL_USERNAME": "ann"}
    config = load(toml, env=env, path=path)
    assert config.kafka.client == {
        "security.protocol": "SSL",
        "socket.keepalive.enable": "true",
        "fetch.min.bytes": "5",
        "sasl.username": "ann",
    }
    assert config.origins["kafka.client.security.protocol"] == str(path)
    assert config.registry.client == {}


def test_options_of_a_registry_are_its_own(path: Path) -> None:
    toml = "[registry.client]\nproxy = 'http://p:1'\n[kafka.client]\ndebug = 'broker'"
    env = {"STREAMER_REGISTRY__CLIENT__SSL_KEY_LOCATION": "/k.pem"}
    config = load(toml, env=env, path=path)
    assert config.registry.client == {"proxy": "http://p:1", "ssl.key.location": "/k.pem"}
    assert config.kafka.client == {"debug": "broker"}
    again = changed(config, {"kafka.group": "x"})
    assert (again.registry.client, again.kafka.client) == (
        config.registry.client,
        config.kafka.client,
    )


def test_topics_carry_their_prefix(path: Path) -> None:
    config = load('[topics]\nprefix = "eu."\nevents = "clicks"\n', path=path)
    assert config.topics.topic("events") == "eu.clicks"
    assert config.topics.topic("dead_letters") == "eu.dead-letters"


# --- what is refused --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("toml", "wrong", "near"),
    [
        ("[kafka]\nbootstrap_server = 'x'", "kafka.bootstrap_server", "kafka.bootstrap_servers"),
        ("[lerner]\nseed = 1", "lerner.seed", "learner.seed"),
        ("[events.click]\nwaight = 2", "events.click.waight", "events.click.weight"),
        ("[rewards.click]\nweight = 2", "rewards.click.weight", "events.click.weight"),
        ("[rewards]", "rewards", "events.NAME"),
        ("factors = 3", "factors", "mf.factors"),
        ("[storage]", "storage", "store.url"),
        ("[origins]\nx = 1", "origins.x", ""),
    ],
)
def test_an_unknown_key_names_itself_its_origin_and_the_nearest(
    path: Path, toml: str, wrong: str, near: str
) -> None:
    message = refusal(toml, path=path)
    assert message.startswith(f"{path}: unknown key '{wrong}'; ")
    assert f"'{near}" in message


def test_an_unknown_key_is_refused_from_every_source(path: Path) -> None:
    variable = "STREAMER_MF__FACTOR"
    message = refusal(env={variable: "1"}, path=path)
    assert (
        message
        == f"environment {variable}: unknown key 'mf.factor'; the nearest known one is 'mf.factors'"
    )
    assert refusal(path=path, mf__factor=1).startswith("flag: unknown key 'mf.factor'; ")


def test_a_variable_with_one_underscore_is_not_overlooked(path: Path) -> None:
    message = refusal(env={"STREAMER_KAFKA_BOOTSTRAP_SERVERS": "x:1"}, path=path)
    assert "STREAMER_KAFKA__BOOTSTRAP_SERVERS" in message
    assert load(env={"STREAMER_DATA": "/data"}, path=path).kafka.bootstrap_servers == ""


@pytest.mark.parametrize(
    ("toml", "key", "value", "allowed"),
    [
        ("[mf]\nfactors = '4'", "mf.factors", '"4"', "an integer from 1 to 512"),
        ("[mf]\nfactors = 0", "mf.factors", "0", "an integer from 1 to 512"),
        ("[mf]\nfactors = 4.0", "mf.factors", "4.0", "an integer"),
        ("[mf]\nfactors = true", "mf.factors", "true", "an integer"),
        ("[mf]\nfactors = 1979-05-27", "mf.factors", "1979-05-27", "an integer"),
        ("[mf]\nlearning_rate = nan", "mf.learning_rate", "nan", "above 0 and up to 10"),
        ("[mf]\nlearning_rate = inf", "mf.learning_rate", "inf", "above 0 and up to 10"),
        ("[mf]\nloss = 'hinge'", "mf.loss", '"hinge"', '"bpr" or "logistic"'),
        ("[store]\nurl = 'mysql:x'", "store.url", '"mysql:x"', "sqlite:PATH"),
        ("[topics]\nevents = 'a b'", "topics.events", '"a b"', "a text that matches"),
        ("[popularity]\nhalf_lives_s = []", "popularity.half_lives_s", "[]", "a list of 1 to 8"),
        ("[popularity]\nhalf_lives_s = [nan]", "popularity.half_lives_s", "[nan]", "above 0"),
        ("[kafka]\nclient = { x = [1] }", "kafka.client.x", "[1]", "text"),
    ],
)
def test_a_wrong_value_names_itself_its_origin_and_what_is_allowed(
    path: Path, toml: str, key: str, value: str, allowed: str
) -> None:
    message = refusal(toml, path=path)
    assert message.startswith(f"{path}: {key} = {value} is refused: ")
    assert allowed in message


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("[topics]\nitems = 'events'", "topics.events and topics.items"),
        ("[popularity]\nhalf_lives_s = [86400, 60]", "popularity.half_lives_s"),
        (
            "[popularity]\nhalf_lives_s = [60]\n[recall.trending]\ncandidates = 9",
            "recall.trending.half_life_s",
        ),
        ("[events.rating]\nvalue_range = [1]", "events.rating.value_range"),
        ("[events.rating]\nvalue_range = [1, 1]", "events.rating.value_range"),
        ("[events]\nclick = 2", "[events.click] is a table; give it a weight"),
        ("[events.save]", "[events.save] is a table; give it a weight"),
        ("[events.save]\nvalue_range = [0, 1]", "events.save.weight: a type that is added"),
        ("[events.Save]\nweight = 1", "the name of an event type matches"),
        ("[events.a__b]\nweight = 1", "the name of an event type matches"),
        ("[kafka.client]\n'group.id' = 'x'", "kafka.group"),
        ("[kafka.client]\nenable.auto.commit = true", "kafka.client.enable.auto.commit"),
        ("[kafka]\nclient = 'x'", "kafka.client is a table"),
        ("[registry.client]\ntimeout = 3", "use registry.timeout_s"),
        ("[registry]\nclient = 'x'", "registry.client is a table"),
        ("[mf", "is not TOML"),
    ],
)
def test_settings_that_contradict_are_refused(path: Path, toml: str, said: str) -> None:
    message = refusal(toml, path=path)
    assert message.startswith(f"{path}: ")
    assert said in message


def test_a_byte_order_mark_before_a_file_is_read_over(tmp_path: Path) -> None:
    path = tmp_path / "streamer.toml"
    path.write_bytes(b'\xef\xbb\xbf[kafka]\ngroup = "x"\n')
    assert load_config(path, env={}).kafka.group == "x"


def test_a_file_that_is_asked_for_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: can't be read"):
        load_config(tmp_path / "absent.toml", env={})
    (tmp_path / "latin.toml").write_bytes(b"# caf\xe9")
    with pytest.raises(ConfigError, match=r"latin\.toml: is not TOML"):
        load_config(tmp_path / "latin.toml", env={})


# --- what is printed --------------------------------------------------------------------------


def test_every_key_is_described_with_its_origin(path: Path) -> None:
    rows = describe(load("[mf]\nfactors = 8\n", path=path))
    assert ("mf.factors", "8", str(path)) in rows
    assert ("mf.loss", '"softmax"', "default") in rows
    assert [key for key, _, _ in rows] == [key for key in known_keys() if key not in OPTION_TABLES]


@pytest.mark.parametrize("password", ["hunter2", "p@ss:w/rd", "with blank", "//hunter2?x=1"])
def test_secrets_are_printed_nowhere(path: Path, password: str) -> None:
    env = {
        "STREAMER_STORE__URL": f"redis://ann:{password}@cache:6379/0",
        "STREAMER_KAFKA__CLIENT__SASL_PASSWORD": password,
        "STREAMER_KAFKA__CLIENT__SSL_KEY_PASSWORD": password,
        "STREAMER_REGISTRY__PASSWORD": password,
        "STREAMER_REGISTRY__CLIENT__BEARER_AUTH_CLIENT_SECRET": password,
    }
    config = load(env=env, path=path)
    assert config.store.url == env["STREAMER_STORE__URL"]
    printed = [repr(config), repr(config.kafka), repr(config.store), str(describe(config))]
    assert config.registry.password == password
    assert not [text for text in printed if password in text]
    assert ("store.url", '"redis://ann:***@cache:6379/0"') in [row[:2] for row in describe(config)]
    assert password not in refusal(env={"STREAMER_STORE__URL": f"http://a:{password}@c"}, path=path)


def test_a_password_in_a_query_is_masked_too(path: Path) -> None:
    config = load('[store]\nurl = "redis://h:1/0?password=hunter2&db=1"\n', path=path)
    assert "hunter2" not in repr(config)
    assert "&db=1" in repr(config.store)


PARAMETERS = ("ssl_password", "access_token", "api_key", "x-signature", "credential", "key")


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_parameter_of_a_url_whose_name_says_secret_is_masked(path: Path, name: str) -> None:
    url = f"rediss://h:1/0?{name}=hunter@2&db=1&ssl_keyfile=/x"
    config = load(f'[store]\nurl = "{url}"\n', path=path)
    assert config.store.url == url
    assert f'url="rediss://h:1/0?{name}=***&db=1&ssl_keyfile=/x"' in repr(config.store)
    refused = refusal(f'[store]\nurl = "http://h/?{name}=hunter@2"\n', path=path)
    assert "hunter" not in refused
    assert name in refused


@pytest.mark.parametrize("kind", ["PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY"])
def test_private_keys_are_masked_whatever_the_option(path: Path, kind: str) -> None:
    key = f"-----BEGIN {kind}-----\nMIIEvQhunter2\n-----END {kind}-----\n"
    env = {
        "STREAMER_KAFKA__CLIENT__SSL_KEY_PEM": "MIIEvQhunter2",  # by the name alone
        "STREAMER_KAFKA__CLIENT__SSL_CERTIFICATE_PEM": f"-----BEGIN CERTIFICATE-----\n{key}",
        "STREAMER_REGISTRY__CLIENT__MADE_UP": key[:40],  # cut off
    }
    config = load(env=env, path=path)
    shown = {name: text for name, text, _ in describe(config)}
    assert shown["kafka.client.ssl.key.pem"] == '"***"'
    assert shown["registry.client.made.up"] == '"***"'
    assert "hunter2" not in str(shown) + repr(config)


def test_secrets_of_named_tables_are_masked(path: Path) -> None:
    text = '[files.clicks]\nfile = "https://ann:s3cret@h/clicks.csv"\n'
    shown = {name: text for name, text, _ in describe(load(text, path=path))}
    assert shown["files.clicks.file"] == '"https://ann:***@h/clicks.csv"'


def test_every_setting_says_what_it_means_and_what_is_allowed() -> None:
    for key in known_keys().values():
        assert key.description
        assert key.allowed


@pytest.mark.parametrize(
    ("cap", "words"),
    [
        ("title<=1", "title is no attribute.*categories, tags and the names of attributes"),
        ("item_id<=1 in 5", "item_id is no attribute"),
        ("created_ts<=2", "created_ts is no attribute"),
        ("categories<=5 in 3", "bounds nothing: 3 places have 3 items at most; write less than 3"),
        ("brand<=4 in 4", "bounds nothing"),
        ("brand<=500", "bounds nothing: 500 places"),
    ],
)
def test_a_cap_that_can_bound_nothing_is_refused(cap: str, words: str) -> None:
    with pytest.raises(ConfigError, match=rf"slate\.caps.*{words}"):
        load_config(env={}, flags={"slate.caps": [cap]})


def test_caps_on_lists_and_attributes_are_taken() -> None:
    caps = ["categories<=2 in 5", "tags<=1", "brand<=3 in 4", "category<=499"]
    assert load_config(env={}, flags={"slate.caps": caps}).slate.caps == tuple(caps)
