#!/bin/sh
# Prints the digest of each foreign image of docker-compose.yml, as its registry has it now:
#
#   deploy/pin-digests.sh > digests && mv digests deploy/.env
#
# Compose reads deploy/.env by itself, and from then on pulls those bytes and no others.
set -eu
sed -n 's/^ *image: \([^$]*\)\${\([A-Z]*_DIGEST\):-}$/\1 \2/p' "$(dirname "$0")/docker-compose.yml" | while read -r image variable; do
    digest=$(docker buildx imagetools inspect "$image" --format '{{.Manifest.Digest}}')
    case "$digest" in
        sha256:*) echo "$variable=@$digest" ;;
        *) echo "$image: no digest in '$digest'" >&2 && exit 1 ;;
    esac
done
