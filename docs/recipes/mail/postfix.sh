#!/bin/sh
# Moves Postfix behind ppserver: smtpd listens on loopback, for those who send a header, and nowhere else. On that port
# everybody is believed, so nothing but loopback may reach it.
set -eu
postconf -M# smtp/inet
postconf -M 127.0.0.1:10025/inet='127.0.0.1:10025 inet n - y - - smtpd'
postconf -P 127.0.0.1:10025/inet/smtpd_upstream_proxy_protocol=haproxy
postconf -P 127.0.0.1:10025/inet/smtpd_upstream_proxy_timeout=5s
