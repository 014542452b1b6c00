// A batch out of a data set that lies on the device, in one launch. XP_ROW: what the data set's pictures hold.
typedef XP_ROW row_t;

// Sample n of the batch is number order[n] of x (.., row) and t. Pictures are divided by `divisor`, or where that is 0
// multiplied by `factor`: cast, then one rounding, as xpcnn.data.loader does it.
extern "C" __global__ void gather_batch(const row_t* x, const long long* t, const long long* order, real_t* out,
                                        long long* labels, index_t elements, index_t row, index_t samples,
                                        sum_t divisor, sum_t factor) {
    EACH(i, elements) {
        sum_t v = (sum_t)x[order[i / row] * row + i % row];
        out[i] = down(divisor != 0 ? v / divisor : v * factor);
        if (i < samples) labels[i] = t[order[i]];
    }
}
