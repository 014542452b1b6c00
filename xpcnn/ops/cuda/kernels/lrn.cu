// Local response normalisation across channels (Krizhevsky et al. 2012, section 3.3) of (N, C, P): channel c hears
// the channels c - before .. c + after. The bracket k + alpha * sum of squares is kept in sum_t.

extern "C" __global__ void lrn_forward(const real_t* x, real_t* y, sum_t* bracket, index_t elements, index_t C,
                                       index_t P, index_t before, index_t after, sum_t alpha, sum_t beta, sum_t k) {
    EACH(i, elements) {
        index_t c = i / P % C;
        sum_t squares = 0;
        for (index_t other = max(c - before, (index_t)0); other <= min(c + after, C - 1); ++other) {
            sum_t v = up(x[i + (other - c) * P]);
            squares += v * v;
        }
        sum_t b = squares * alpha + k;
        bracket[i] = b;
        y[i] = down(up(x[i]) * power(b, -beta));
    }
}

// dx = dout * bracket^-beta - x * 2*alpha*beta * (sum of dout * x * bracket^(-beta-1) over the channels that heard it).
extern "C" __global__ void lrn_backward(const real_t* dout, const real_t* x, const sum_t* bracket, real_t* dx,
                                        index_t elements, index_t C, index_t P, index_t before, index_t after,
                                        sum_t alpha, sum_t beta) {
    EACH(i, elements) {
        index_t c = i / P % C;
        sum_t heard = 0;
        for (index_t other = max(c - after, (index_t)0); other <= min(c + before, C - 1); ++other) {
            index_t at = i + (other - c) * P;
            heard += up(dout[at]) * up(x[at]) * power(bracket[at], -beta) / bracket[at];
        }
        dx[i] = down(up(dout[i]) * power(bracket[i], -beta) - up(x[i]) * heard * (2 * alpha * beta));
    }
}
