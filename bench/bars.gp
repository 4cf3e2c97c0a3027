# bars.gp -- nanoseconds per operation; plot.sh makes its data.
set terminal svg size 760,1080 font "sans-serif,12" background "#ffffff"
set output out
set key off
set border 0
set logscale x
set xrange [0.5:60000]
set yrange [*:*] reverse
set offsets graph 0, 0, 0.01, 0.01
unset xtics
set ytics scale 0 font ",11"
set lmargin 14
set tmargin 4
set rmargin 2
set label "nanoseconds per operation, logarithmic scale; shorter is better" \
    at screen 0.01, screen 0.985
set style fill solid noborder
base = 0.5
plot "build/bars.dat" using 2:1:(base):2:($1-0.38):($1+0.38):3 with boxxyerror lc rgb variable, \
     "" using (base):1:ytic(4) with dots lc rgb "#ffffff", \
     "" using ($2*1.08):1:5 with labels left font ",11", \
     "build/titles.dat" using (base):1:2 with labels left font ",13"
