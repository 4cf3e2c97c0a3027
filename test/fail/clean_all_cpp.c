// The same as C++.
//
// clean
// flags: -x c++ -std=c++20 -Wno-missing-field-initializers
// with: -O2
// with: -O2 -DCORO_SHARED -DCORO_IMPLEMENTATION
#include "clean_all.c"
