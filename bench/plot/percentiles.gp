# SPDX-License-Identifier: Apache-2.0
# Percentiles of latency; x is 50, 99 or 999, which is 99.9. Given: data, n, heading, here.
load here."common.gp"
place(x) = x < 60 ? 0 : x < 100 ? 1 : 2
set xrange [-0.2:2.2]
set xtics ("50 %%" 0, "99 %%" 1, "99.9 %%" 2)
set xlabel "messages that take at most so long"
set ylabel "one way (µs)"
set logscale y 10
set format y "%g"
set mytics 10
set grid ytics mytics lt -1 lw 0.75 lc rgb "#bbbbbb", lt -1 lw 0.5 lc rgb "#e6e6e6"
plot for [i = 0:n-1] data index i using (place($1)):2 with linespoints lt colour(label(i)) title label(i)
