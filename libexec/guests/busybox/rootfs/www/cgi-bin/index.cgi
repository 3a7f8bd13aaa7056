#!/bin/sh
read -r up _ </proc/uptime
printf 'Content-Type: text/html; charset=utf-8\r\n\r\n'
cat <<PAGE
<!doctype html>
<title>$(hostname)</title>
<h1>$(hostname)</h1>
<p>A small guest of Holdfast, up for $up s.</p>
<pre>$(ip -4 addr show scope global | sed -n 's/^ *inet \([^ ]*\).* \([^ ]*\)$/\2 \1/p')</pre>
PAGE
