# latency.gp -- latency against offered load; `bench/run.py --latency` makes its data.
set terminal svg size 760,440 font "sans-serif,12" background "#ffffff"
set output out
set label "an echo of 64 bytes over TCP, 1,000 connections, one thread; dotted: the median" \
    at screen 0.02, screen 0.965
set xlabel "requests per second, in thousands"
set ylabel "microseconds, logarithmic scale"
set logscale y
set yrange [10:100000]
set xrange [0:230]
set ytics ("10" 10, "100" 100, "1,000" 1000, "10,000" 10000, "100,000" 100000)
set grid ytics lc rgb "#e2e8f0" lt 1
set border 3 lc rgb "#64748b"
set tics nomirror
set key at graph 0.72, graph 0.98 reverse Left
set tmargin 3
colour(i) = i == 0 ? 0x2563eb : i == 1 ? 0x64748b : i == 2 ? 0xd97706 : 0x16a34a
names = "coro by_hand libuv asyncio"
name(i) = i == 1 ? "by hand" : word(names, i + 1)
file = "build/latency.dat"
plot for [i=0:3] file index i using ($1/1000):3 with linespoints lw 2 pt 7 ps 0.4 \
         lc rgb colour(i) title name(i) . ": 99 of 100 within", \
     for [i=0:3] file index i using ($1/1000):2 with lines lw 1.5 dt 3 \
         lc rgb colour(i) notitle
