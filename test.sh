#!/usr/bin/env bash
# Installs the programs that the tests speak with, then runs every test. It
# needs Go and, where a program is missing, Debian or Ubuntu with root or sudo.
#
#   ./test.sh           all tests
#   ./test.sh -short    without those that take more than a few seconds
set -euo pipefail
cd "$(dirname "$0")"

.ci/foreign.sh
export PEERLOAD_FOREIGN=1

unformatted=$(gofmt -l .)
if [ -n "$unformatted" ]; then
	echo "not formatted with gofmt: $unformatted" >&2
	exit 1
fi
go vet ./...
for arch in arm mipsle; do
	CGO_ENABLED=0 GOOS=linux GOARCH=$arch GOMIPS=softfloat go build -o /dev/null ./cmd/peerload
done
# Whole processes are tested without the race detector: what they race over is
# tested with it in their packages.
go test -race -timeout 15m "$@" $(go list ./... | grep -v '/e2e$')
go test -timeout 15m "$@" ./e2e
