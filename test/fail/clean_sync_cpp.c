// The same as C++.
//
// clean
// flags: -x c++ -std=c++20 -Wno-missing-field-initializers
// with: -O1..3
// with: -O2 -DCORO_CHECK=1
// with: -O2 -DCORO_DEBUG=1
#include "clean_sync.c"
