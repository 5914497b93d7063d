#!/bin/sh
# The sidecar's HEALTHCHECK: reads the service's sign of life, one short file, in two milliseconds of CPU time. It works
# with the status page off, too. Fails when the service is DOWN or has not written for three minutes; one that is
# DEGRADED waits for S3, or for a person, and must not be restarted.
oldest=180
[ -z "${S3_STATE_DIR_FILE:-}" ] || S3_STATE_DIR=$(cat -- "$S3_STATE_DIR_FILE")
health='' at=''
read -r health at <"${S3_STATE_DIR:-/state}/service.lock" || exit 1
case $at in '' | *[!0-9]*) exit 1 ;; esac
age=$(($(date +%s) - at))
[ "$age" -le "$oldest" ] && [ "$age" -ge "-$oldest" ] && [ "$health" != DOWN ]
