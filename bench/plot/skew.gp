# SPDX-License-Identifier: Apache-2.0
# Rows per second by the skew of keys. Given: data, n, heading, axis, here.
load here."common.gp"
set xlabel axis
set ylabel "throughput (million rows/s)"
set logscale y 10
set format y "%g"
set mytics 10
set grid ytics mytics lt -1 lw 0.75 lc rgb "#bbbbbb", lt -1 lw 0.5 lc rgb "#e6e6e6"
plot for [i = 0:n-1] data index i using 1:($2/1e6) with linespoints lt colour(label(i)) title label(i)
