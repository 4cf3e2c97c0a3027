// The same as C++.
//
// clean
// flags: -x c++ -std=c++20 -Wno-missing-field-initializers
// with: -O1..3
#include "coro_io.h"

int main(void)
{
    return 0;
}
