#!/bin/sh
# The real servers that the tests talk to, from Debian or Ubuntu. Without root, or on another system,
# it says what is missing and the tests that need it are skipped with that reason (in CI they fail).
set -eu
missing=""
need() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ] || missing="$missing $2"; }
need mosquitto mosquitto
need mosquitto_sub mosquitto-clients
need jq jq
need influxd influxdb
need chromium chromium
need systemd-nspawn systemd-container
need openssl openssl
need victoria-metrics victoria-metrics
need prometheus prometheus
need slurmctld slurmctld
need slurmd slurmd
need scontrol slurm-client
need munged munge
[ -e "$(ls -d /usr/lib/*/slurm*/auth_munge.so 2>/dev/null | head -1)" ] || missing="$missing slurm-wlm-basic-plugins"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing$missing"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing fonts-dejavu-core >/dev/null
else
    echo "not installed:$missing; tests that need them are skipped. As root: apt-get install$missing"
fi
