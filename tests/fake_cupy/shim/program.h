// A program that runs one launch told in a file, and writes the arrays back: for AddressSanitizer, which cannot live
// in a library that Python loads. Each array lies in an allocation of its own, at an address like its own.
#pragma once
#include <stdlib.h>

#include "launch.h"

extern "C" void __asan_poison_memory_region(const void volatile* at, size_t size);

namespace fake {

template <class T> T read(FILE* file) {
    T value;
    if (fread(&value, sizeof value, 1, file) != 1) exit(3);
    return value;
}

struct Array {
    unsigned char *allocation, *bytes;
    size_t size;
};

static Array read_array(FILE* file) {
    size_t size = read<unsigned long long>(file), residue = read<unsigned long long>(file);
    void* allocation = nullptr;
    if (posix_memalign(&allocation, 256, residue + size) != 0) exit(3);
    Array array{static_cast<unsigned char*>(allocation), static_cast<unsigned char*>(allocation) + residue, size};
    if (size != 0 && fread(array.bytes, size, 1, file) != 1) exit(3);
    __asan_poison_memory_region(array.allocation, residue);
    return array;
}

using Runner = const char* (*)(const unsigned*, const unsigned*, size_t, void**, int, int);

static int run_program(char** words, Runner run) {
    FILE* file = fopen(words[1], "rb");
    if (file == nullptr) return 3;
    unsigned grid[3], block[3];
    for (unsigned& n : grid) n = read<unsigned>(file);
    for (unsigned& n : block) n = read<unsigned>(file);
    size_t shared_bytes = read<unsigned long long>(file);
    int fibers = read<int>(file), order = read<int>(file);
    std::vector<Array> arrays(read<unsigned>(file));
    for (Array& array : arrays) array = read_array(file);
    std::vector<unsigned char[16]> values(read<unsigned>(file));
    std::vector<void*> arguments;
    for (auto& value : values) {
        int which = read<int>(file);
        if (fread(value, 16, 1, file) != 1) return 3;
        if (which >= 0) {
            unsigned long long offset;
            memcpy(&offset, value, 8);
            unsigned char* address = arrays[which].bytes + offset;
            memcpy(value, &address, 8);
        }
        arguments.push_back(value);
    }
    fclose(file);
    const char* wrong = run(grid, block, shared_bytes, arguments.data(), fibers, order);
    if (wrong != nullptr) {
        fprintf(stderr, "%s\n", wrong);
        return 4;
    }
    file = fopen(words[2], "wb");
    for (Array& array : arrays)
        if (array.size != 0 && fwrite(array.bytes, array.size, 1, file) != 1) return 3;
    return fclose(file);
}

}  // namespace fake
