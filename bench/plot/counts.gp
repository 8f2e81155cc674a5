# SPDX-License-Identifier: Apache-2.0
# Throughput by a number of processes, groups or parts, both logarithmic. Given: data, n, heading, metric, axis, here.
load here."common.gp"
what = "throughput (million rows/s)"
scale = 1e-6
if (axis[1:9] eq "appenders") { what = "throughput (million records/s)" }
if (metric eq "bytes_per_s") { what = "throughput (GB/s)"; scale = 1e-9 }
stats data using 1 nooutput
few = STATS_max <= 4096
if (few) { set logscale x 2; set xtics 2 } else { set logscale x 10; set format x "%.0s%c"; unset mxtics }
set xrange [STATS_min * (few ? 0.87 : 0.7):STATS_max * (few ? 1.15 : 1.45)]
set xlabel axis
set ylabel what
set logscale y 10
set format y "%g"
set mytics 10
set grid ytics mytics lt -1 lw 0.75 lc rgb "#bbbbbb", lt -1 lw 0.5 lc rgb "#e6e6e6"
plot for [i = 0:n-1] data index i using 1:(scale*$2) with linespoints lt colour(label(i)) title label(i)
