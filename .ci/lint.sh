#!/bin/sh
# Runs golangci-lint with the settings of .golangci.yml. It is built from source
# as tools/go.mod pins it, once; where that fails, as without a network, the
# check is skipped and says why.
set -eu
cd "$(dirname "$0")/.."

program=${XDG_CACHE_HOME:-$HOME/.cache}/peerload-tools/golangci-lint
if ! said=$(go -C tools build -o "$program" github.com/golangci/golangci-lint/v2/cmd/golangci-lint 2>&1); then
	echo "golangci-lint is skipped, it cannot be built: $(echo "$said" | tail -n 1)" >&2
	exit 0
fi
untidy=$(go -C tools mod tidy -diff 2>/dev/null) || case $untidy in
diff*)
	echo "$untidy" >&2
	exit 1
	;;
esac
"$program" run ./...
