/* What the kernels share: vectors, exp, and products of small matrices that stay in registers. Put before each of them when
 * it is compiled. */

#include <math.h>
#include <stdint.h>
#include <string.h>
#ifdef _OPENMP
#include <omp.h>
#endif
#ifdef __x86_64__
#include <immintrin.h>
#endif

#if defined(__AVX512F__) || defined(WIDE) /* WIDE: on other processors too, for tests */
enum { LANES = 16, BLOCK = 12 }; /* BLOCK rows x 2 vectors of sums stay in registers */
#elif defined(__ARM_NEON)
enum { LANES = 8, BLOCK = 6 };
#else
enum { LANES = 8, BLOCK = 6 };
#endif
enum { PANEL = 2 * LANES };

typedef float vec __attribute__((vector_size(LANES * 4), aligned(4)));
typedef int32_t ivec __attribute__((vector_size(LANES * 4), aligned(4)));
typedef uint32_t words __attribute__((vector_size(LANES * 4), aligned(4)));
typedef uint16_t halves __attribute__((vector_size(LANES * 2), aligned(2)));
typedef long i64;

static i64 up(i64 n, i64 to) { return (n + to - 1) / to * to; }
static i64 least(i64 a, i64 b) { return a < b ? a : b; }
static vec all(float x) { return x - (vec){0}; } /* x + 0 would be an addition: -0 + 0 is 0 */
static vec load(const float *p) { return *(const vec *)p; }
static void store(float *p, vec v) { *(vec *)p = v; }
static vec widen(const uint16_t *p) { return (vec)(__builtin_convertvector(*(const halves *)p, words) << 16); }
__attribute__((unused)) static halves narrow(vec v) { /* to bfloat16: to nearest, ties to even */
    const words bits = (words)v;
    return __builtin_convertvector((bits + 0x7fff + ((bits >> 16) & 1)) >> 16, halves);
}

/* `elem`: what matrix products take, float or, where HALF is defined, bfloat16 */
#ifdef HALF
typedef uint16_t elem;
__attribute__((unused)) static vec get(const elem *p) { return widen(p); }
static void put(elem *p, vec v) { *(halves *)p = narrow(v); }
#else
typedef float elem;
__attribute__((unused)) static vec get(const elem *p) { return load(p); }
static void put(elem *p, vec v) { store(p, v); }
#endif

/* The larger one; a, where that is NaN */
static vec larger(vec a, vec b) {
    const ivec second = b > a;
    return (vec)(((ivec)b & second) | ((ivec)a & ~second));
}

static float total(vec v) {
    float sum = 0;
    for (int i = 0; i < LANES; i++) sum += v[i];
    return sum;
}

/* exp within 2 ulp for -87 <= x <= 88, which is where it is cut; NaN of NaN */
static vec exponential(vec x) {
    const vec shift = all(12582912.0f); /* adding it rounds to an integer */
    x = larger(-larger(-x, all(-88.0f)), all(-87.0f));
    vec z = x * 1.44269504f + shift;
    vec n = z - shift;
    vec r = x - n * 0.693359375f + n * 2.12194440e-4f;
    vec p = all(1.9875691500e-4f);
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    ivec power = ((ivec)z - (ivec)shift) << 23;
    return (vec)((ivec)p + power);
}

#ifdef CACHE_F16
static inline vec widen_f16(const uint16_t *p) {
#if defined(__AVX512F__)
    return (vec)_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
#elif defined(__F16C__)
    union {
        vec whole;
        __m256 part[LANES / 8];
    } v;
    for (int i = 0; i < LANES / 8; i++) v.part[i] = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p + i));
    return v.whole;
#else /* exponents are moved by a product, which is right for the numbers below the normal ones too */
    const words bits = __builtin_convertvector(*(const halves *)p, words);
    return (vec)((bits & 0x7fff) << 13 | (bits & 0x8000) << 16) * 0x1p112f;
#endif
}

/* To nearest; beyond the largest float16 the largest, not infinity */
static inline void narrow_f16(vec v, uint16_t *p) {
    v = larger(-larger(-v, all(-65504.0f)), all(-65504.0f));
#if defined(__AVX512F__)
    _mm256_storeu_si256((__m256i *)p, _mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__F16C__)
    union {
        vec whole;
        __m256 part[LANES / 8];
    } parts = {v};
    for (int i = 0; i < LANES / 8; i++)
        _mm_storeu_si128((__m128i *)p + i, _mm256_cvtps_ph(parts.part[i], _MM_FROUND_TO_NEAREST_INT));
#else /* below the normal numbers of float16 there are none here: 0 */
    const words sign = (words)v >> 16 & 0x8000, size = (words)v & 0x7fffffff, even = size + 0xfff + (size >> 13 & 1);
    const words found = (even >> 13) - (112 << 10);
    *(halves *)p = __builtin_convertvector(sign | (found & (words)((ivec)size >= 0x38800000)), halves);
#endif
}
#endif

/* LANES numbers as they lie in memory: float, bfloat16 or float16 */
enum { F32, BF16, F16 };

static inline __attribute__((always_inline)) vec fetch(const int kind, const void *from, i64 at) {
    const uint16_t *half = (const uint16_t *)from + at;
    if (kind == BF16) return widen(half);
#ifdef CACHE_F16
    if (kind == F16) return widen_f16(half);
#endif
    return load((const float *)from + at);
}

/* c[m][PANEL] (+)= a[m][k] b[k][PANEL]; m and the kind of b are constants where this is inlined */
static inline __attribute__((always_inline)) void block(
    const int m, const int kind, const float *a, i64 lda, i64 k, const void *b, i64 ldb, float *c, i64 ldc, int add) {
    vec sum[BLOCK][2];
    const float *a3 = a + 3 * lda, *a6 = a + 6 * lda, *a9 = a + 9 * lda;
#pragma GCC unroll 12
    for (int i = 0; i < m; i++) {
        sum[i][0] = add ? load(c + i * ldc) : all(0);
        sum[i][1] = add ? load(c + i * ldc + LANES) : all(0);
    }
    for (i64 j = 0; j < k; j++) {
        const vec low = fetch(kind, b, j * ldb), high = fetch(kind, b, j * ldb + LANES);
#pragma GCC unroll 12
        for (int i = 0; i < m; i++) {
            const float *row = i < 3 ? a : i < 6 ? a3 : i < 9 ? a6 : a9;
            const vec x = all(row[(i % 3) * lda + j]);
            sum[i][0] += x * low;
            sum[i][1] += x * high;
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < m; i++) {
        store(c + i * ldc, sum[i][0]);
        store(c + i * ldc + LANES, sum[i][1]);
    }
}

/* The same for any m: whole blocks, then what is left */
static inline __attribute__((always_inline)) void blocks(
    const int kind, i64 m, const float *a, i64 lda, i64 k, const void *b, i64 ldb, float *c, i64 ldc, int add) {
    for (; m >= BLOCK; m -= BLOCK, a += BLOCK * lda, c += BLOCK * ldc) block(BLOCK, kind, a, lda, k, b, ldb, c, ldc, add);
#define LEFT(n) case n: block(n < BLOCK ? n : BLOCK, kind, a, lda, k, b, ldb, c, ldc, add); break;
    switch (m) {
        LEFT(1) LEFT(2) LEFT(3) LEFT(4) LEFT(5) LEFT(6) LEFT(7) LEFT(8) LEFT(9) LEFT(10) LEFT(11)
    }
#undef LEFT
}

__attribute__((unused)) static void panel(i64 m, const float *a, i64 lda, i64 k, const float *b, i64 ldb, float *c, i64 ldc, int add) {
    blocks(F32, m, a, lda, k, b, ldb, c, ldc, add);
}

/* c[m][PANEL] += transposed a[k][m] b[k][PANEL]; m is a constant where this is inlined */
static inline __attribute__((always_inline)) void block_across(
    const int m, const float *a, i64 lda, i64 k, const float *b, i64 ldb, float *c, i64 ldc) {
    vec sum[BLOCK][2];
#pragma GCC unroll 12
    for (int i = 0; i < m; i++) sum[i][0] = load(c + i * ldc), sum[i][1] = load(c + i * ldc + LANES);
    for (i64 j = 0; j < k; j++) {
        const vec low = load(b + j * ldb), high = load(b + j * ldb + LANES);
#pragma GCC unroll 12
        for (int i = 0; i < m; i++) {
            const vec x = all(a[j * lda + i]);
            sum[i][0] += x * low;
            sum[i][1] += x * high;
        }
    }
#pragma GCC unroll 12
    for (int i = 0; i < m; i++) store(c + i * ldc, sum[i][0]), store(c + i * ldc + LANES, sum[i][1]);
}

__attribute__((unused)) static void across(i64 m, const float *a, i64 lda, i64 k, const float *b, i64 ldb, float *c, i64 ldc) {
    for (; m >= BLOCK; m -= BLOCK, a += BLOCK, c += BLOCK * ldc) block_across(BLOCK, a, lda, k, b, ldb, c, ldc);
#define LEFT(n) case n: block_across(n < BLOCK ? n : BLOCK, a, lda, k, b, ldb, c, ldc); break;
    switch (m) {
        LEFT(1) LEFT(2) LEFT(3) LEFT(4) LEFT(5) LEFT(6) LEFT(7) LEFT(8) LEFT(9) LEFT(10) LEFT(11)
    }
#undef LEFT
}
