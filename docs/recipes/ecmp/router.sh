#!/bin/sh
# The router chooses a next hop by addresses and ports, so that connections of one client are spread too.
set -eu
sysctl -w net.ipv4.ip_forward=1 net.ipv4.fib_multipath_hash_policy=1
