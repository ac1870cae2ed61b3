/* One decoding step of a Llama / Qwen2 / Qwen3 decoder on a CPU: a token per row in, a hidden state out.
 *
 * Matrices, what they multiply, and keys and values are float32; bfloat16 where HALF is defined; keys and values alone are
 * float16 where CACHE_F16 is. The residual stream, norms, softmax and all sums are float32.
 *
 * Each thread takes its share of the rows through all layers, so threads meet once per step and not once per matrix.
 * Matrices are packed into panels of PANEL columns. Keys and values live in pages of PAGE positions; the pages of a
 * prompt are shared by the responses that continue it, and read once for RUN of them.
 *
 * A page holds, layer by layer: keys [kv_heads][width][PAGE], values [kv_heads][PAGE][padded(width)].
 */

enum { PAGE = 32, RUN = 8, TILE = 96 };

#ifdef HALF
enum { CACHE = BF16, DEEP = 32 }; /* DEEP: a packed matrix has whole DEEPs of rows, the last filled up with zeros */
#elif defined(CACHE_F16)
enum { CACHE = F16, DEEP = 1 };
#else
enum { CACHE = F32, DEEP = 1 };
#endif
#if defined(HALF) || defined(CACHE_F16)
typedef uint16_t cached;
#else
typedef float cached;
#endif

typedef struct {
    const float *attention_norm, *qkv_bias, *q_norm, *k_norm, *mlp_norm;
    const elem *qkv, *out, *gate_up, *down; /* packed */
} Layer;

typedef struct {
    i64 hidden, layers, heads, kv_heads, width, ffn, threads;
    float eps;
    const float *embedding; /* [vocabulary][hidden] */
    const float *norm;
    const Layer *layer;
} Model;

typedef struct {
    i64 rows, pages_per_row;
    const int64_t *tokens; /* [rows] */
    const int32_t *prompt; /* [rows] tokens of the prompt */
    const int32_t *own;    /* [rows] tokens of the response that are in the cache already */
    cached *const *pages;  /* [rows][pages_per_row]: those of the prompt, then those of the response */
    const float *cosine, *sine; /* [positions][width] */
    float *hidden;              /* [rows][hidden], the result */
    float *scratch;             /* threads * move37_scratch floats */
} Batch;

/* ------------------------------------------------------------------------------------------------------ products */

/* Columns of a buffer of what a product takes or gives: whole panels, and whole DEEPs of zeros behind what it takes */
static i64 wide(i64 n) { return up(up(n, PANEL), DEEP); }

#ifdef HALF
/* A packed panel is [k / 2][PANEL][2]: two terms of a sum lie beside each other, as the units for bfloat16 want them */

static inline vec dot(vec sum, words a, words b) {
#if defined(__AVX512BF16__) && !defined(WIDE)
    return (vec)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
#else
    return sum + (vec)(a << 16) * (vec)(b << 16) + (vec)(a & 0xffff0000u) * (vec)(b & 0xffff0000u);
#endif
}

static inline __attribute__((always_inline)) void pairs(
    const int m, const elem *a, i64 lda, i64 k, const elem *w, float *c, i64 ldc, int add) {
    vec sum[BLOCK][2];
    const elem *a3 = a + 3 * lda, *a6 = a + 6 * lda, *a9 = a + 9 * lda;
#pragma GCC unroll 12
    for (int i = 0; i < m; i++) {
        sum[i][0] = add ? load(c + i * ldc) : all(0);
        sum[i][1] = add ? load(c + i * ldc + LANES) : all(0);
    }
    for (i64 j = 0; j < k; j += 2, w += 2 * PANEL) {
        words low, high;
        memcpy(&low, w, sizeof low), memcpy(&high, w + 2 * LANES, sizeof high);
#pragma GCC unroll 12
        for (int i = 0; i < m; i++) {
            const elem *row = i < 3 ? a : i < 6 ? a3 : i < 9 ? a6 : a9;
            uint32_t two;
            memcpy(&two, row + (i % 3) * lda + j, sizeof two);
            const words x = (words){0} + two;
            sum[i][0] = dot(sum[i][0], x, low);
            sum[i][1] = dot(sum[i][1], x, high);
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < m; i++) store(c + i * ldc, sum[i][0]), store(c + i * ldc + LANES, sum[i][1]);
}

/* c[m][PANEL] (+)= a[m][k] w, by vectors */
static void by_vectors(i64 m, const elem *a, i64 lda, i64 k, const elem *w, float *c, i64 ldc, int add) {
    for (; m >= BLOCK; m -= BLOCK, a += BLOCK * lda, c += BLOCK * ldc) pairs(BLOCK, a, lda, k, w, c, ldc, add);
#define LEFT(n) case n: pairs(n < BLOCK ? n : BLOCK, a, lda, k, w, c, ldc, add); break;
    switch (m) {
        LEFT(1) LEFT(2) LEFT(3) LEFT(4) LEFT(5) LEFT(6) LEFT(7) LEFT(8) LEFT(9) LEFT(10) LEFT(11)
    }
#undef LEFT
}

#if defined(__AMX_BF16__) && defined(__linux__) && !defined(WIDE) && !defined(NO_TILES)
#define TILES
#include <sys/syscall.h>
#include <unistd.h>

static int tiles_allowed; /* by the kernel, for the whole process */

static void open_tiles(void) { /* eight tiles of 16 rows of 64 bytes, for the thread that calls */
    struct {
        uint8_t palette, start, rest[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } shape = {.palette = 1};
    for (int i = 0; i < 8; i++) shape.bytes[i] = 64, shape.rows[i] = 16;
    if (tiles_allowed) __asm__ volatile("ldtilecfg %0" ::"m"(shape)); /* GCC's intrinsic reads a part of it, up to 13.2 */
}

static void close_tiles(void) {
    if (tiles_allowed) _tile_release();
}

/* The compiler does not know that tiles read and write memory */
static void settle(void) { __asm__ volatile("" ::: "memory"); }

/* The same by the matrix units. Reads whole tiles of rows of a; what lies behind row m is not used */
static void by_tiles(i64 m, const elem *a, i64 lda, i64 k, const elem *w, float *c, i64 ldc, int add) {
    for (; m > 0; m -= 32, a += 32 * lda, c += 32 * ldc) {
        float spare[32 * PANEL];
        const int whole = m >= 32, both = m > 16;
        float *to = whole ? c : spare, *below = to + 16 * (whole ? ldc : PANEL);
        const i64 ld = 4 * (whole ? ldc : PANEL);
        for (i64 i = 0; add && !whole && i < m; i++) memcpy(spare + i * PANEL, c + i * ldc, 4 * PANEL);
        settle();
        if (add) { /* sums begin with what is there, in part blocks too: a row's bits do not depend on its place */
            _tile_loadd(0, to, ld);
            _tile_loadd(1, to + 16, ld);
            _tile_loadd(2, below, ld);
            _tile_loadd(3, below + 16, ld);
        } else {
            _tile_zero(0);
            _tile_zero(1);
            _tile_zero(2);
            _tile_zero(3);
        }
        for (i64 j = 0; j < k; j += DEEP) {
            _tile_loadd(6, w + j * PANEL, 4 * PANEL);
            _tile_loadd(7, w + j * PANEL + 32, 4 * PANEL);
            _tile_loadd(4, a + j, 2 * lda);
            _tile_dpbf16ps(0, 4, 6);
            _tile_dpbf16ps(1, 4, 7);
            if (both) {
                _tile_loadd(5, a + 16 * lda + j, 2 * lda);
                _tile_dpbf16ps(2, 5, 6);
                _tile_dpbf16ps(3, 5, 7);
            }
        }
        _tile_stored(0, to, ld);
        _tile_stored(1, to + 16, ld);
        if (both) {
            _tile_stored(2, below, ld);
            _tile_stored(3, below + 16, ld);
        }
        settle();
        for (i64 i = 0; !whole && i < m; i++) memcpy(c + i * ldc, spare + i * PANEL, 4 * PANEL);
    }
}
#else
enum { tiles_allowed = 0 };
static void open_tiles(void) {}
static void close_tiles(void) {}
static void by_tiles(i64 m, const elem *a, i64 lda, i64 k, const elem *w, float *c, i64 ldc, int add) {
    by_vectors(m, a, lda, k, w, c, ldc, add);
}
#endif

static void product(i64 m, const elem *a, i64 lda, i64 k, const elem *w, float *c, i64 ldc, int add) {
    (tiles_allowed ? by_tiles : by_vectors)(m, a, lda, up(k, DEEP), w, c, ldc, add);
}
#else
static void open_tiles(void) {}
static void close_tiles(void) {}
static void product(i64 m, const float *a, i64 lda, i64 k, const float *w, float *c, i64 ldc, int add) {
    panel(m, a, lda, k, w, PANEL, c, ldc, add);
}
#endif

/* Units for bfloat16 that the products use: 0 none, 1 vectors, 2 matrices. Asks the kernel for the matrix units */
i64 move37_units(void) {
#ifdef TILES
    tiles_allowed = syscall(SYS_arch_prctl, 0x1023 /* ARCH_REQ_XCOMP_PERM */, 18 /* XTILEDATA */) == 0;
    if (tiles_allowed) return 2;
#endif
#if defined(HALF) && defined(__AVX512BF16__) && !defined(WIDE)
    return 1;
#endif
    return 0;
}

/* c[m][n] (+)= a[m][k] W, W packed [n / PANEL][k][PANEL]; rows of c have room for whole panels */
static void linear(i64 m, const elem *a, i64 lda, i64 k, const elem *w, i64 n, float *c, i64 ldc, int add) {
    for (i64 j = 0; j < n; j += PANEL, w += up(k, DEEP) * PANEL) product(m, a, lda, k, w, c + j, ldc, add);
}

/* act[m][ffn] = silu(a Wgate) * (a Wup); panels of both take turns in w */
static void gated(i64 m, const elem *a, i64 lda, i64 k, const elem *w, i64 ffn, elem *act, i64 ld, float *gate, float *mid) {
    const i64 deep = up(k, DEEP) * PANEL;
    for (i64 j = 0; j < ffn; j += PANEL, w += 2 * deep) {
        product(m, a, lda, k, w, gate, PANEL, 0);
        product(m, a, lda, k, w + deep, mid, PANEL, 0);
        for (i64 i = 0; i < m; i++)
            for (int v = 0; v < PANEL; v += LANES) {
                const vec g = load(gate + i * PANEL + v);
                put(act + i * ld + j + v, g * load(mid + i * PANEL + v) / (1.0f + exponential(-g)));
            }
    }
}

/* --------------------------------------------------------------------------------------------------- norms, softmax */

static float rms_scale(const float *x, float eps, i64 n) {
    vec squares = all(0);
    for (i64 i = 0; i < n; i += LANES) squares += load(x + i) * load(x + i);
    return 1.0f / sqrtf(total(squares) / (float)n + eps);
}

static void normalise(const float *x, const float *weight, float eps, i64 n, float *y) {
    const float scale = rms_scale(x, eps, n);
    for (i64 i = 0; i < n; i += LANES) store(y + i, load(x + i) * scale * load(weight + i));
}

/* For a product */
static void normalised(const float *x, const float *weight, float eps, i64 n, elem *y) {
    const float scale = rms_scale(x, eps, n);
    for (i64 i = 0; i < n; i += LANES) put(y + i, load(x + i) * scale * load(weight + i));
}

/* One head, in place: normalised (Qwen3), then rotated to its position */
static void turn(float *x, const float *weight, float eps, i64 width, const float *cosine, const float *sine) {
    if (weight) normalise(x, weight, eps, width, x);
    const i64 half = width / 2;
    for (i64 i = 0; i < half; i++) {
        const float a = x[i], b = x[i + half];
        x[i] = a * cosine[i] - b * sine[i];
        x[i + half] = b * cosine[i + half] + a * sine[i + half];
    }
}

/* Probabilities, times a common factor, of n scores in place, padded to whole vectors; their sum */
static float softmax(float *score, i64 n) {
    const i64 padded = up(n, LANES);
    for (i64 i = n; i < padded; i++) score[i] = -INFINITY;
    vec high = load(score);
    for (i64 i = LANES; i < padded; i += LANES) high = larger(load(score + i), high);
    float top = high[0];
    for (int i = 1; i < LANES; i++) top = high[i] > top ? high[i] : top;
    vec sum = all(0);
    for (i64 i = 0; i < padded; i += LANES) {
        const vec e = exponential(load(score + i) - top);
        store(score + i, e);
        sum += e;
    }
    return total(sum);
}

/* ------------------------------------------------------------------------------------------------------ attention */

typedef struct { /* where keys or values of a layer and a head stand in a page */
    i64 keys, values, padded;
} Place;

static Place place(const Model *m, i64 layer, i64 head) {
    const i64 padded = up(m->width, PANEL), per_head = PAGE * (m->width + padded);
    const i64 start = layer * m->kv_heads * per_head;
    return (Place){start + head * PAGE * m->width, start + m->kv_heads * PAGE * m->width + head * PAGE * padded, padded};
}

/* A product with keys or values: c[m][PANEL] (+)= a[m][k] b[k][PANEL] */
static void seen(i64 m, const float *a, i64 lda, i64 k, const cached *b, i64 ldb, float *c, i64 ldc, int add) {
    blocks(CACHE, m, a, lda, k, b, ldb, c, ldc, add);
}

/* Scores of m queries against n positions in pages; the weighted sums of their values */
static void scores(i64 m, const float *q, i64 width, cached *const *pages, i64 keys, i64 n, float *score, i64 lds) {
    for (i64 t = 0; t < n; t += PANEL) seen(m, q, width, width, pages[t / PAGE] + keys + t % PAGE, PAGE, score + t, lds, 0);
}

static void gather(i64 m, const float *p, i64 ldp, cached *const *pages, Place at, i64 n, float *sum) {
    for (i64 t = 0; t < n; t += PAGE)
        for (i64 d = 0; d < at.padded; d += PANEL)
            seen(m, p + t, ldp, least(PAGE, n - t), pages[t / PAGE] + at.values + d, at.padded, sum + d, at.padded, 1);
}

/* The same for the few queries of one row. Few sums wait for each other: here every second term has sums of its own, and
 * each is THIN vectors wide, so that enough of them are on their way. m is a constant where this is inlined */
enum { THIN = 4 };

static inline __attribute__((always_inline)) void thin(
    const int m, const float *a, i64 lda, i64 k, const cached *b, i64 ldb, float *c, i64 ldc, int add) {
    vec even[2][THIN], odd[2][THIN];
#pragma GCC unroll 2
    for (int i = 0; i < m; i++)
#pragma GCC unroll 4
        for (int v = 0; v < THIN; v++) even[i][v] = add ? load(c + i * ldc + v * LANES) : all(0), odd[i][v] = all(0);
    for (i64 j = 0; j + 1 < k; j += 2)
#pragma GCC unroll 4
        for (int v = 0; v < THIN; v++) {
            const vec one = fetch(CACHE, b, j * ldb + v * LANES), two = fetch(CACHE, b, (j + 1) * ldb + v * LANES);
#pragma GCC unroll 2
            for (int i = 0; i < m; i++) even[i][v] += all(a[i * lda + j]) * one, odd[i][v] += all(a[i * lda + j + 1]) * two;
        }
#pragma GCC unroll 2
    for (int i = 0; i < m; i++)
#pragma GCC unroll 4
        for (int v = 0; v < THIN; v++) {
            if (k % 2) even[i][v] += all(a[i * lda + k - 1]) * fetch(CACHE, b, (k - 1) * ldb + v * LANES);
            store(c + i * ldc + v * LANES, even[i][v] + odd[i][v]);
        }
}

/* [few][columns] in pieces of THIN vectors, what is left of the columns by panels */
static void few(i64 m, const float *a, i64 lda, i64 k, const cached *b, i64 ldb, i64 columns, float *c, i64 ldc, int add) {
    i64 d = 0;
    for (; d + THIN * LANES <= columns; d += THIN * LANES) {
        i64 i = 0;
        for (; i + 2 <= m; i += 2) thin(2, a + i * lda, lda, k, b + d, ldb, c + i * ldc + d, ldc, add);
        if (i < m) thin(1, a + i * lda, lda, k, b + d, ldb, c + i * ldc + d, ldc, add);
    }
    for (; d < columns; d += PANEL) seen(m, a, lda, k, b + d, ldb, c + d, ldc, add);
}

/* What one row sees of itself: all heads of a page, one after the other, as they lie in the memory. score [kv_heads] at `apart` */
static void own_scores(const Model *m, i64 layer, const float *q, i64 apart_q, cached *const *pages, i64 n, float *score, i64 apart,
                       i64 lds) {
    for (i64 t = 0; t < n; t += PAGE)
        for (i64 h = 0; h < m->kv_heads; h++) {
            const cached *keys = pages[t / PAGE] + place(m, layer, h).keys;
            few(m->heads / m->kv_heads, q + h * apart_q, m->width, m->width, keys, PAGE, least(PAGE, up(n - t, PANEL)),
                score + h * apart + t, lds, 0);
        }
}

static void own_gather(const Model *m, i64 layer, const float *p, i64 apart, i64 ldp, cached *const *pages, i64 n, float *sum,
                       i64 apart_sum) {
    for (i64 t = 0; t < n; t += PAGE)
        for (i64 h = 0; h < m->kv_heads; h++) {
            const Place at = place(m, layer, h);
            few(m->heads / m->kv_heads, p + h * apart + t, ldp, least(PAGE, n - t), pages[t / PAGE] + at.values, at.padded,
                at.padded, sum + h * apart_sum, at.padded, 1);
        }
}

static void keep(cached *to, vec v) {
#if defined(HALF)
    *(halves *)to = narrow(v);
#elif defined(CACHE_F16)
    narrow_f16(v, to);
#else
    store(to, v);
#endif
}

/* Put a row's key and value into its page */
static void remember(const Model *m, i64 layer, i64 own, const float *qkv, cached *page) {
    for (i64 h = 0; h < m->kv_heads; h++) {
        const float *key = qkv + (m->heads + h) * m->width, *value = key + m->kv_heads * m->width;
        const Place at = place(m, layer, h);
        for (i64 d = 0; d < m->width; d += LANES) {
            cached column[LANES];
            keep(column, load(key + d));
            for (i64 i = 0; i < LANES; i++) page[at.keys + (d + i) * PAGE + own % PAGE] = column[i];
            keep(page + at.values + own % PAGE * at.padded + d, load(value + d));
        }
    }
}

/* Floats of scratch for a run */
static i64 attend_scratch(const Model *m, i64 pages_per_row) {
    return RUN * m->heads * (m->width + up(m->width, PANEL) + pages_per_row * PAGE + PANEL);
}

/* Attention of rows that continue one prompt. q [rows][ldq] holds a row's queries, key and value side by side; out its sums.
 * Queries, sums and scores are [kv_heads][rows][group][...] */
static void attend(const Model *m, const Batch *b, i64 layer, i64 first, i64 rows, const float *q, i64 ldq, elem *out, i64 ldo,
                   float *scratch) {
    const i64 group = m->heads / m->kv_heads, width = m->width, padded = up(width, PANEL), pairs = rows * group;
    const i64 prompt = b->prompt[first], before = up(prompt, PAGE), lds = b->pages_per_row * PAGE + PANEL;
    cached *const *pages = b->pages + first * b->pages_per_row;
    float *query = scratch, *sum = query + RUN * m->heads * width, *score = sum + RUN * m->heads * padded;
    const float scale = 1.0f / sqrtf((float)width);
    for (i64 h = 0; h < m->kv_heads; h++)
        for (i64 i = 0; i < rows; i++)
            for (i64 d = 0; d < group * width; d++)
                query[(h * pairs + i * group) * width + d] = q[i * ldq + h * group * width + d] * scale;
    memset(sum, 0, sizeof(float) * m->heads * rows * padded);
    for (i64 h = 0; h < m->kv_heads; h++)
        scores(pairs, query + h * pairs * width, width, pages, place(m, layer, h).keys, prompt, score + h * pairs * lds, lds);
    for (i64 i = 0; i < rows; i++) {
        const i64 own = b->own[first + i] + 1, at = i * group;
        cached *const *mine = pages + i * b->pages_per_row + before / PAGE;
        remember(m, layer, own - 1, q + i * ldq, mine[(own - 1) / PAGE]);
        own_scores(m, layer, query + at * width, pairs * width, mine, own, score + at * lds + before, pairs * lds, lds);
        for (i64 h = 0; h < m->heads; h++) {
            float *part = score + (h / group * pairs + at + h % group) * lds;
            for (i64 t = prompt; t < before; t++) part[t] = -INFINITY;
            const float whole = softmax(part, before + own);
            for (i64 t = 0; t < before + own; t += LANES) store(part + t, load(part + t) / whole);
        }
        own_gather(m, layer, score + at * lds + before, pairs * lds, lds, mine, own, sum + at * padded, pairs * padded);
    }
    for (i64 h = 0; h < m->kv_heads; h++) {
        gather(pairs, score + h * pairs * lds, lds, pages, place(m, layer, h), prompt, sum + h * pairs * padded);
        for (i64 i = 0; i < pairs; i++)
            for (i64 d = 0; d < width; d += LANES)
                put(out + i / group * ldo + (h * group + i % group) * width + d, load(sum + (h * pairs + i) * padded + d));
    }
}

/* Rotate queries and keys of one row */
static void prepare(const Model *m, const Batch *b, const Layer *w, i64 row, float *qkv) {
    const i64 width = m->width, position = b->prompt[row] + b->own[row];
    const float *cosine = b->cosine + position * width, *sine = b->sine + position * width;
    if (w->qkv_bias)
        for (i64 i = 0; i < (m->heads + 2 * m->kv_heads) * width; i++) qkv[i] += w->qkv_bias[i];
    for (i64 h = 0; h < m->heads; h++) turn(qkv + h * width, w->q_norm, m->eps, width, cosine, sine);
    for (i64 h = 0; h < m->kv_heads; h++) turn(qkv + (m->heads + h) * width, w->k_norm, m->eps, width, cosine, sine);
}

static void attention(const Model *m, const Batch *b, i64 layer, i64 first, i64 rows, float *qkv, i64 ldq, elem *out, i64 ldo,
                      float *scratch) {
    for (i64 i = 0; i < rows; i++) prepare(m, b, &m->layer[layer], first + i, qkv + i * ldq);
    for (i64 i = 0, run; i < rows; i += run) {
        for (run = 1; run < RUN && i + run < rows; run++)
            if (b->pages[(first + i + run) * b->pages_per_row] != b->pages[(first + i) * b->pages_per_row]) break;
        attend(m, b, layer, first + i, run, qkv + i * ldq, ldq, out + i * ldo, ldo, scratch);
    }
}

/* ------------------------------------------------------------------------------------------------------ all layers */

static i64 widest(const Model *m) { return up((m->heads + 2 * m->kv_heads) * m->width, PANEL); }

/* What products take, TILE rows of each */
static i64 taken(const Model *m) { return wide(m->hidden) + wide(m->heads * m->width) + wide(m->ffn); }

/* Floats of scratch one thread needs for its share of `rows` */
i64 move37_scratch(const Model *m, i64 rows, i64 pages_per_row) {
    const i64 share = (rows + m->threads - 1) / m->threads;
    const i64 tile = TILE * (taken(m) + widest(m) + 2 * PANEL);
    return share * up(m->hidden, PANEL) + tile + attend_scratch(m, pages_per_row) + PANEL;
}

/* Rows first .. first + rows through all layers, by one thread */
static void decode(const Model *m, const Batch *b, i64 first, i64 rows, float *scratch) {
    const i64 hidden = up(m->hidden, PANEL), qkvs = widest(m), states = wide(m->hidden), heads = wide(m->heads * m->width);
    const i64 ffn = wide(m->ffn), parts = (rows + TILE - 1) / TILE, tile = (rows + parts - 1) / parts;
    float *x = scratch, *qkv = x + rows * hidden, *gate = qkv + TILE * qkvs, *mid = gate + TILE * PANEL;
    elem *y = (elem *)(mid + TILE * PANEL), *mixed = y + TILE * states, *act = mixed + TILE * heads;
    float *rest = mid + TILE * PANEL + TILE * taken(m);
    if (DEEP > 1) memset(y, 0, sizeof(elem) * TILE * taken(m)); /* behind the columns that are written there are zeros */
    for (i64 i = 0; i < rows; i++) {
        memcpy(x + i * hidden, m->embedding + b->tokens[first + i] * m->hidden, sizeof(float) * m->hidden);
        memset(x + i * hidden + m->hidden, 0, sizeof(float) * (hidden - m->hidden));
    }
    for (i64 l = 0; l < m->layers; l++) {
        const Layer *w = &m->layer[l];
        for (i64 t = 0; t < rows; t += tile) {
            const i64 some = least(tile, rows - t);
            float *own = x + t * hidden;
            for (i64 i = 0; i < some; i++) normalised(own + i * hidden, w->attention_norm, m->eps, m->hidden, y + i * states);
            linear(some, y, states, m->hidden, w->qkv, qkvs, qkv, qkvs, 0);
            attention(m, b, l, first + t, some, qkv, qkvs, mixed, heads, rest);
            linear(some, mixed, heads, m->heads * m->width, w->out, m->hidden, own, hidden, 1);
            for (i64 i = 0; i < some; i++) normalised(own + i * hidden, w->mlp_norm, m->eps, m->hidden, y + i * states);
            gated(some, y, states, m->hidden, w->gate_up, m->ffn, act, ffn, gate, mid);
            linear(some, act, ffn, m->ffn, w->down, m->hidden, own, hidden, 1);
        }
    }
    for (i64 i = 0; i < rows; i++) normalise(x + i * hidden, m->norm, m->eps, m->hidden, b->hidden + (first + i) * m->hidden);
}

/* A token for each row; each row's key and value are added to its pages */
void move37_decode(const Model *m, const Batch *b) {
    const i64 each = move37_scratch(m, b->rows, b->pages_per_row);
#ifdef _OPENMP
#pragma omp parallel for num_threads(m->threads) schedule(static, 1)
#endif
    for (i64 t = 0; t < m->threads; t++) {
        const i64 first = b->rows * t / m->threads, end = b->rows * (t + 1) / m->threads;
        open_tiles();
        if (first < end) decode(m, b, first, end - first, b->scratch + t * each);
        close_tiles();
    }
}

/* ------------------------------------------------------------------------------------------------------ drawing */

enum { SUM = 64, LOGITS = 1 << 16 }; /* probabilities of one partial sum; logits a thread holds at once, or BLOCK rows of them */

static i64 rows_at_once(i64 vocabulary) {
    const i64 rows = LOGITS / up(vocabulary, SUM) / BLOCK * BLOCK;
    return rows < BLOCK ? BLOCK : least(rows, TILE);
}

/* Floats of scratch of one thread */
i64 move37_draw_scratch(i64 hidden, i64 vocabulary) {
    return TILE * wide(hidden) + rows_at_once(vocabulary) * up(vocabulary, SUM) + 2 * (up(vocabulary, SUM) / SUM + 1);
}

/* Inverts the cumulative distribution of softmax(score * inverse) at `uniform`; the best score where inverse is 0. Writes the
 * token's log-prob, at inverse 1 where it is the best. `score` is overwritten; padded to whole SUMs; `sums` holds one each */
static i64 invert(float *score, i64 n, float inverse, double uniform, float *logprob, double *sums) {
    const i64 padded = up(n, SUM);
    const float scale = inverse > 0 ? inverse : 1;
    for (i64 i = n; i < padded; i++) score[i] = -INFINITY;
    vec high = load(score);
    for (i64 i = LANES; i < padded; i += LANES) high = larger(load(score + i), high);
    float top = high[0];
    for (int i = 1; i < LANES; i++) top = high[i] > top ? high[i] : top;
    double whole = 0;
    i64 best = 0;
    while (best < n - 1 && !(score[best] >= top)) best++;
    for (i64 i = 0; i < padded; i += SUM) {
        vec part = all(0);
        for (i64 j = i; j < i + SUM; j += LANES) {
            const vec e = exponential((load(score + j) - top) * scale);
            store(score + j, e);
            part += e;
        }
        sums[i / SUM] = whole += total(part);
    }
    for (i64 i = n; i < padded; i++) score[i] = 0; /* exp is cut at e^-87, not 0 */
    i64 token = best;
    if (inverse > 0) {
        const double threshold = uniform * whole;
        i64 at = 0;
        while (at < padded / SUM - 1 && !(sums[at] > threshold)) at++;
        double below = at ? sums[at - 1] : 0;
        token = -1;
        for (i64 i = at * SUM; i < least(n, (at + 1) * SUM); i++) {
            below += score[i];
            if (score[i] > 0) token = i; /* the last one that can be drawn, should rounding leave the threshold above all */
            if (below > threshold) break;
        }
    }
    *logprob = token < 0 ? NAN : logf(score[token]) - (float)log(whole);
    return token < 0 ? 0 : token;
}

/* A token for each row of states [rows][hidden]: see `invert`. head: packed [vocabulary / PANEL][hidden][PANEL] */
void move37_draw(i64 rows, i64 hidden, i64 vocabulary, const float *states, const elem *head, float inverse, const double *uniform,
                 int64_t *token, float *logprob, float *scratch, i64 threads) {
    const i64 each = move37_draw_scratch(hidden, vocabulary), tile = rows_at_once(vocabulary), padded = up(vocabulary, SUM);
    const i64 columns = wide(hidden);
#ifdef _OPENMP
#pragma omp parallel for num_threads(threads) schedule(static, 1)
#endif
    for (i64 t = 0; t < threads; t++) {
        float *score = scratch + t * each;
        double *sums = (double *)(score + tile * padded);
        elem *taken = (elem *)(score + tile * padded + 2 * (padded / SUM + 1));
        if (DEEP > 1) memset(taken, 0, sizeof(elem) * TILE * columns);
        open_tiles();
        for (i64 first = rows * t / threads, end = rows * (t + 1) / threads; first < end; first += tile) {
            const i64 some = least(tile, end - first);
            for (i64 i = 0; i < some; i++)
                for (i64 d = 0; d < hidden; d += LANES) put(taken + i * columns + d, load(states + (first + i) * hidden + d));
            linear(some, taken, columns, hidden, head, vocabulary, score, padded, 0);
            for (i64 i = 0; i < some; i++)
                token[first + i] = invert(score + i * padded, vocabulary, inverse, uniform[first + i], logprob + first + i, sums);
        }
        close_tiles();
    }
}

/* Numbers in a packed matrix [n][k] */
i64 move37_packed(i64 n, i64 k, i64 pair) { return pair ? 2 * up(n / 2, PANEL) * up(k, DEEP) : up(n, PANEL) * up(k, DEEP); }

/* [n][k] row-major -> panels [n / PANEL][k][PANEL], in HALF [n / PANEL][k / 2][PANEL][2]; with `pair`, panels of the first and
 * the second half take turns */
void move37_pack(const float *w, i64 n, i64 k, i64 pair, elem *packed) {
    const i64 half = pair ? n / 2 : n, panels = (half + PANEL - 1) / PANEL, deep = up(k, DEEP), side = DEEP > 1 ? 2 : 1;
    elem line[PANEL];
    for (i64 p = 0; p < panels; p++)
        for (i64 s = 0; s <= pair; s++, packed += deep * PANEL)
            for (i64 i = 0; i < deep; i++) {
                float column[PANEL];
                for (i64 c = 0; c < PANEL; c++)
                    column[c] = i < k && p * PANEL + c < half ? w[(s * half + p * PANEL + c) * k + i] : 0;
                for (i64 v = 0; v < PANEL; v += LANES) put(line + v, load(column + v));
                for (i64 c = 0; c < PANEL; c++) packed[i / side * side * PANEL + c * side + i % side] = line[c];
            }
}

i64 move37_panel(void) { return PANEL; }
i64 move37_page(void) { return PAGE; }
