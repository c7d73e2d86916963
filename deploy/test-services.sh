#!/usr/bin/env bash
# Sees to it that the integration tests can start Kafka, Redis, a browser and Node here: installs
# what is missing where it may (root on a Debian-like system), and says what is missing where not.
set -euo pipefail

packages=()
have() { command -v "$1" >/dev/null 2>&1; }
docker_answers() { have docker && timeout 10 docker version >/dev/null 2>&1; }

# kcat and chromium are clients: neither an address nor a container stands in for them.
have kcat || packages+=(kcat)
# The commands of the documentation are run as they stand there.
have curl || packages+=(curl)
have jq || packages+=(jq)
# Some tests stop and start a broker and a Redis of their own, so an address alone isn't enough.
have redis-server || packages+=(redis-server)
if [[ -z ${JAVA_HOME:-} ]]; then have java || packages+=(default-jre-headless); fi
have mvn || packages+=(maven)
# The page of `streamer serve` is looked at in it.
have chromium || have chromium-browser || packages+=(chromium)
# The JavaScript client of the HTTP API runs in it, and npm installs what it depends on.
have node || packages+=(nodejs)
have npm || packages+=(npm)

(( ${#packages[@]} == 0 )) && exit 0

if have apt-get && (( EUID == 0 )); then
    echo "installing for the integration tests: ${packages[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q
    # Installing redis-server must not start a system service: the tests start their own.
    policy=/usr/sbin/policy-rc.d
    if [[ ! -e $policy ]]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod +x "$policy"
        trap 'rm -f "$policy"' EXIT
    fi
    apt-get install -y -q --no-install-recommends "${packages[@]}"
    exit 0
fi

echo "missing for the integration tests: ${packages[*]}" >&2
echo "  on Debian or Ubuntu:  sudo apt-get install ${packages[*]}" >&2
if docker_answers; then
    echo "  Docker stands in for most of it; tests that need one of these are skipped." >&2
else
    echo "  or set KAFKA_BOOTSTRAP_SERVERS and REDIS_URL, or start a Docker engine;" >&2
    echo "  tests without their service are skipped, with the reason." >&2
fi
