// CPU operators for MXNet's extension interface (float32): layer norm, causal self-attention, cross-entropy, AdamW, sums of
// squares.
//
// They replace built-in ones that are slow on a CPU; on GPUs and without this library the built-in ones are used, with the same
// losses. Written for `mx.library.load`; all loops are parallel over rows or heads, so results do not depend on the number of
// threads except where gradients of norms are summed over threads (always in the order of the threads).

#include "mxnet/lib_api.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <unordered_map>
#include <vector>

#include <omp.h>

using mxnet::ext::kFloat32;
using mxnet::ext::MX_FAIL;
using mxnet::ext::MX_SUCCESS;
using mxnet::ext::MXReturnValue;
using mxnet::ext::MXTensor;
using mxnet::ext::OpResource;
using Attributes = std::unordered_map<std::string, std::string>;
using Tensors = std::vector<MXTensor>;
using Shapes = std::vector<std::vector<unsigned int>>;

// From the OpenBLAS that MXNet itself has loaded
extern "C" void cblas_sgemm(int order, int transpose_a, int transpose_b, int m, int n, int k, float alpha, const float* a, int lda,
                            const float* b, int ldb, float beta, float* c, int ldc);
extern "C" void openblas_set_num_threads(int count) __attribute__((weak));

namespace {

constexpr int kRowMajor = 101, kPlain = 111, kTransposed = 112;
constexpr float kLowest = -3.0e38f;
constexpr float kEpsilon = 1e-5f;
constexpr long kPart = 2048;  // numbers of a row that stay in the cache
constexpr int kRows = 64;  // query rows of attention handled at once: their scores stay in the cache

float* data(Tensors* tensors, int index) { return (*tensors)[index].data<float>(); }

// e^x to about one unit in the last place; branch-free, so that the compiler turns loops over it into vector code.
// x = n ln 2 + r with |r| <= ln(2) / 2, then a Taylor polynomial of r and an exponent built by hand.
inline float exponential(float x) {
  x = std::min(std::max(x, -87.0f), 88.0f);
  const float n = std::nearbyint(x * 1.44269504f);
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.98412698e-4f;
  p = p * r + 1.38888889e-3f;
  p = p * r + 8.33333333e-3f;
  p = p * r + 4.16666667e-2f;
  p = p * r + 1.66666667e-1f;
  p = p * r + 0.5f;
  p = p * r * r + r + 1.0f;
  const int bits = (static_cast<int>(n) + 127) << 23;
  float scale;
  std::memcpy(&scale, &bits, sizeof scale);
  return p * scale;
}

MXReturnValue all_float(const Attributes&, std::vector<int>* inputs, std::vector<int>* outputs) {
  for (int& type : *inputs) type = kFloat32;
  for (int& type : *outputs) type = kFloat32;
  return MX_SUCCESS;
}

// ---- layer norm over the last axis: (x, gamma, beta) -> (y, mean, 1 / deviation) ---------------------------------------------

MXReturnValue norm_count(const Attributes&, int* inputs, int* outputs) {
  *inputs = 3;
  *outputs = 3;
  return MX_SUCCESS;
}

MXReturnValue norm_shape(const Attributes&, Shapes* inputs, Shapes* outputs) {
  std::vector<unsigned int> rows = (*inputs)[0];
  const unsigned int width = rows.back();
  rows.pop_back();
  (*inputs)[1] = (*inputs)[2] = {width};
  (*outputs)[0] = (*inputs)[0];
  (*outputs)[1] = (*outputs)[2] = rows;
  return MX_SUCCESS;
}

MXReturnValue norm_forward(const Attributes&, Tensors* in, Tensors* out, const OpResource&) {
  const float *x = data(in, 0), *gamma = data(in, 1), *beta = data(in, 2);
  float *y = data(out, 0), *mean = data(out, 1), *inverse = data(out, 2);
  const long width = (*in)[1].size(), rows = (*in)[0].size() / width;
#pragma omp parallel for schedule(static)
  for (long row = 0; row < rows; ++row) {
    const float* source = x + row * width;
    float* target = y + row * width;
    float sum = 0, squares = 0;
#pragma omp simd reduction(+ : sum)
    for (long j = 0; j < width; ++j) sum += source[j];
    const float centre = sum / width;
#pragma omp simd reduction(+ : squares)
    for (long j = 0; j < width; ++j) squares += (source[j] - centre) * (source[j] - centre);
    const float scale = 1.0f / std::sqrt(squares / width + kEpsilon);
#pragma omp simd
    for (long j = 0; j < width; ++j) target[j] = (source[j] - centre) * scale * gamma[j] + beta[j];
    mean[row] = centre;
    inverse[row] = scale;
  }
  return MX_SUCCESS;
}

// in: gradients of (y, mean, inverse), then x, gamma, beta, then y, mean, inverse
MXReturnValue norm_backward(const Attributes&, Tensors* in, Tensors* out, const OpResource&) {
  const float *dy = data(in, 0), *x = data(in, 3), *gamma = data(in, 4), *mean = data(in, 7), *inverse = data(in, 8);
  float *dx = data(out, 0), *dgamma = data(out, 1), *dbeta = data(out, 2);
  const long width = (*in)[4].size(), rows = (*in)[3].size() / width;
  std::vector<float> parts;
  int threads = 1;
#pragma omp parallel
  {
#pragma omp single
    {
      threads = omp_get_num_threads();
      parts.assign(2L * threads * width, 0.0f);
    }
    float* own_gamma = parts.data() + 2L * omp_get_thread_num() * width;
    float* own_beta = own_gamma + width;
#pragma omp for schedule(static)
    for (long row = 0; row < rows; ++row) {
      const float *source = x + row * width, *above = dy + row * width;
      float* target = dx + row * width;
      const float centre = mean[row], scale = inverse[row];
      float plain = 0, weighted = 0;
#pragma omp simd reduction(+ : plain, weighted)
      for (long j = 0; j < width; ++j) {
        const float unit = (source[j] - centre) * scale, inner = above[j] * gamma[j];
        plain += inner;
        weighted += inner * unit;
        own_gamma[j] += above[j] * unit;
        own_beta[j] += above[j];
      }
      plain /= width;
      weighted /= width;
#pragma omp simd
      for (long j = 0; j < width; ++j) {
        const float unit = (source[j] - centre) * scale;
        target[j] = scale * (above[j] * gamma[j] - plain - unit * weighted);
      }
    }
  }
  std::memset(dgamma, 0, width * sizeof(float));
  std::memset(dbeta, 0, width * sizeof(float));
  for (int thread = 0; thread < threads; ++thread) {
    const float* part = parts.data() + 2L * thread * width;
    for (long j = 0; j < width; ++j) {
      dgamma[j] += part[j];
      dbeta[j] += part[width + j];
    }
  }
  return MX_SUCCESS;
}

// ---- causal self-attention: queries, keys, values side by side for each head (S, B, 3 D) -> (S, B, D), log of row sums (B H, S) ----

int heads_of(const Attributes& attributes) { return std::stoi(attributes.at("heads")); }

MXReturnValue attention_count(const Attributes&, int* inputs, int* outputs) {
  *inputs = 1;
  *outputs = 2;
  return MX_SUCCESS;
}

MXReturnValue attention_shape(const Attributes& attributes, Shapes* inputs, Shapes* outputs) {
  const std::vector<unsigned int>& in = (*inputs)[0];
  (*outputs)[0] = {in[0], in[1], in[2] / 3};
  (*outputs)[1] = {in[1] * heads_of(attributes), in[0]};
  return MX_SUCCESS;
}

struct Attention {
  int heads, length, batch, units, width;
  long step_in, step_out;  // floats from one token to the next
  float scale;

  Attention(const Attributes& attributes, const MXTensor& qkv)
      : heads(heads_of(attributes)), length(qkv.shape[0]), batch(qkv.shape[1]), units(qkv.shape[2] / 3), width(units / heads),
        step_in(3L * batch * units), step_out(1L * batch * units), scale(1.0f / std::sqrt(static_cast<float>(width))) {}

  long in_offset(int pair) const { return 3L * (pair / heads) * units + 3L * (pair % heads) * width; }
  long out_offset(int pair) const { return 1L * (pair / heads) * units + 1L * (pair % heads) * width; }
};

// Scores of `rows` queries from `first` on against all keys that they may see, times the scale: (rows, seen)
void scores_of(const Attention& a, const float* queries, int first, int rows, int seen, float* scores) {
  cblas_sgemm(kRowMajor, kPlain, kTransposed, rows, seen, a.width, a.scale, queries + first * a.step_in, a.step_in, queries + a.width,
              a.step_in, 0.0f, scores, seen);
}

MXReturnValue attention_forward(const Attributes& attributes, Tensors* in, Tensors* out, const OpResource&) {
  const Attention a(attributes, (*in)[0]);
  const float* qkv = data(in, 0);
  float *mixed = data(out, 0), *logs = data(out, 1);
#pragma omp parallel
  {
    std::vector<float> buffer(1L * kRows * a.length);
#pragma omp for schedule(static)
    for (int pair = 0; pair < a.batch * a.heads; ++pair) {
      const float* queries = qkv + a.in_offset(pair);
      for (int first = 0; first < a.length; first += kRows) {
        const int rows = std::min(kRows, a.length - first), seen = first + rows;
        scores_of(a, queries, first, rows, seen, buffer.data());
        for (int row = 0; row < rows; ++row) {
          float* line = buffer.data() + 1L * row * seen;
          const int allowed = first + row + 1;
          float top = kLowest, sum = 0;
#pragma omp simd reduction(max : top)
          for (int j = 0; j < allowed; ++j) top = std::max(top, line[j]);
#pragma omp simd reduction(+ : sum)
          for (int j = 0; j < allowed; ++j) {
            line[j] = exponential(line[j] - top);
            sum += line[j];
          }
          const float share = 1.0f / sum;
#pragma omp simd
          for (int j = 0; j < allowed; ++j) line[j] *= share;
          std::fill(line + allowed, line + seen, 0.0f);
          logs[1L * pair * a.length + first + row] = top + std::log(sum);
        }
        cblas_sgemm(kRowMajor, kPlain, kPlain, rows, a.width, seen, 1.0f, buffer.data(), seen, queries + 2 * a.width, a.step_in, 0.0f,
                    mixed + a.out_offset(pair) + first * a.step_out, a.step_out);
      }
    }
  }
  return MX_SUCCESS;
}

// in: gradients of (mixed, logs), then qkv, then mixed, logs. The weights are computed again instead of being kept
MXReturnValue attention_backward(const Attributes& attributes, Tensors* in, Tensors* out, const OpResource&) {
  const Attention a(attributes, (*in)[2]);
  const float *above = data(in, 0), *qkv = data(in, 2), *mixed = data(in, 3), *logs = data(in, 4);
  float* gradient = data(out, 0);
#pragma omp parallel
  {
    std::vector<float> weights(1L * kRows * a.length), inner(1L * kRows * a.length);
#pragma omp for schedule(static)
    for (int pair = 0; pair < a.batch * a.heads; ++pair) {
      const float *queries = qkv + a.in_offset(pair), *keys = queries + a.width, *values = keys + a.width;
      float *d_queries = gradient + a.in_offset(pair), *d_keys = d_queries + a.width, *d_values = d_keys + a.width;
      const float *d_mixed = above + a.out_offset(pair), *own = mixed + a.out_offset(pair);
      // From the last rows, which see all keys and so write all of d_keys and d_values, to the first ones, which add
      for (int first = (a.length - 1) / kRows * kRows; first >= 0; first -= kRows) {
        const int rows = std::min(kRows, a.length - first), seen = first + rows;
        const float keep = seen == a.length ? 0.0f : 1.0f;
        scores_of(a, queries, first, rows, seen, weights.data());
        cblas_sgemm(kRowMajor, kPlain, kTransposed, rows, seen, a.width, 1.0f, d_mixed + first * a.step_out, a.step_out, values, a.step_in,
                    0.0f, inner.data(), seen);
        for (int row = 0; row < rows; ++row) {
          float *w = weights.data() + 1L * row * seen, *g = inner.data() + 1L * row * seen;
          const float *o = own + (first + row) * a.step_out, *d = d_mixed + (first + row) * a.step_out;
          const int allowed = first + row + 1;
          const float log = logs[1L * pair * a.length + first + row];
          float dot = 0;
#pragma omp simd reduction(+ : dot)
          for (int j = 0; j < a.width; ++j) dot += o[j] * d[j];
#pragma omp simd
          for (int j = 0; j < allowed; ++j) {
            w[j] = exponential(w[j] - log);
            g[j] = a.scale * w[j] * (g[j] - dot);
          }
          std::fill(w + allowed, w + seen, 0.0f);
          std::fill(g + allowed, g + seen, 0.0f);
        }
        cblas_sgemm(kRowMajor, kPlain, kPlain, rows, a.width, seen, 1.0f, inner.data(), seen, keys, a.step_in, 0.0f,
                    d_queries + first * a.step_in, a.step_in);
        cblas_sgemm(kRowMajor, kTransposed, kPlain, seen, a.width, rows, 1.0f, inner.data(), seen, queries + first * a.step_in, a.step_in,
                    keep, d_keys, a.step_in);
        cblas_sgemm(kRowMajor, kTransposed, kPlain, seen, a.width, rows, 1.0f, weights.data(), seen, d_mixed + first * a.step_out,
                    a.step_out, keep, d_values, a.step_in);
      }
    }
  }
  return MX_SUCCESS;
}

// ---- cross-entropy: (logits (N, V), targets (N)) -> (loss (N), log of row sums (N)) --------------------------------------------

MXReturnValue entropy_count(const Attributes&, int* inputs, int* outputs) {
  *inputs = 2;
  *outputs = 2;
  return MX_SUCCESS;
}

MXReturnValue entropy_shape(const Attributes&, Shapes* inputs, Shapes* outputs) {
  (*inputs)[1] = (*outputs)[0] = (*outputs)[1] = {(*inputs)[0][0]};
  return MX_SUCCESS;
}

MXReturnValue entropy_forward(const Attributes&, Tensors* in, Tensors* out, const OpResource&) {
  const long rows = (*in)[0].shape[0], width = (*in)[0].shape[1];
  const float *logits = data(in, 0), *targets = data(in, 1);
  float *loss = data(out, 0), *logs = data(out, 1);
#pragma omp parallel for schedule(static)
  for (long row = 0; row < rows; ++row) {
    const float* line = logits + row * width;
    float top = kLowest, sum = 0;
    for (long first = 0; first < width; first += kPart) {  // each part is read once from memory, once from the cache
      const long last = std::min(width, first + kPart);
      float highest = top, more = 0;
#pragma omp simd reduction(max : highest)
      for (long j = first; j < last; ++j) highest = std::max(highest, line[j]);
#pragma omp simd reduction(+ : more)
      for (long j = first; j < last; ++j) more += exponential(line[j] - highest);
      sum = sum * exponential(top - highest) + more;
      top = highest;
    }
    logs[row] = top + std::log(sum);
    loss[row] = logs[row] - line[static_cast<long>(targets[row])];
  }
  return MX_SUCCESS;
}

// in: gradients of (loss, logs), then logits, targets, then loss, logs
MXReturnValue entropy_backward(const Attributes&, Tensors* in, Tensors* out, const OpResource&) {
  const long rows = (*in)[2].shape[0], width = (*in)[2].shape[1];
  const float *above = data(in, 0), *logits = data(in, 2), *targets = data(in, 3), *logs = data(in, 5);
  float* gradient = data(out, 0);
  std::memset(data(out, 1), 0, rows * sizeof(float));
#pragma omp parallel for schedule(static)
  for (long row = 0; row < rows; ++row) {
    const float *line = logits + row * width, factor = above[row], log = logs[row];
    float* target = gradient + row * width;
#pragma omp simd
    for (long j = 0; j < width; ++j) target[j] = factor * exponential(line[j] - log);
    target[static_cast<long>(targets[row])] -= factor;
  }
  return MX_SUCCESS;
}

// ---- AdamW on one tensor; weight, mean and variance change in place ------------------------------------------------------------

MXReturnValue adam_count(const Attributes&, int* inputs, int* outputs) {
  *inputs = 4;
  *outputs = 1;
  return MX_SUCCESS;
}

MXReturnValue one_number(const Attributes&, Shapes*, Shapes* outputs) {
  (*outputs)[0] = {1};
  return MX_SUCCESS;
}

MXReturnValue adam_changes(const Attributes&, std::vector<int>* changed) {
  *changed = {0, 2, 3};
  return MX_SUCCESS;
}

MXReturnValue adam_step(const Attributes& attributes, Tensors* in, Tensors* out, const OpResource&) {
  const auto number = [&](const char* name) { return std::stof(attributes.at(name)); };
  const float rate = number("rate"), beta1 = number("beta1"), beta2 = number("beta2"), epsilon = number("epsilon"), keep = number("keep"),
              scale = number("scale");
  float *weight = data(in, 0), *mean = data(in, 2), *variance = data(in, 3);
  const float* gradient = data(in, 1);
  const long count = (*in)[0].size();
#pragma omp parallel for simd schedule(static)
  for (long j = 0; j < count; ++j) {
    const float g = gradient[j] * scale;
    const float m = beta1 * mean[j] + (1.0f - beta1) * g, v = beta2 * variance[j] + (1.0f - beta2) * g * g;
    mean[j] = m;
    variance[j] = v;
    weight[j] = weight[j] * keep - rate * m / (std::sqrt(v) + epsilon);
  }
  data(out, 0)[0] = 0.0f;
  return MX_SUCCESS;
}

// ---- the sum of squares of any number of tensors -> (1) --------------------------------------------------------------------------

MXReturnValue squares_count(const Attributes& attributes, int* inputs, int* outputs) {
  *inputs = std::stoi(attributes.at("count"));
  *outputs = 1;
  return MX_SUCCESS;
}

MXReturnValue squares_sum(const Attributes&, Tensors* in, Tensors* out, const OpResource&) {
  constexpr long kBlock = 1 << 14;  // summed in float; the blocks' sums in double, in order, whatever the number of threads
  double total = 0;
  std::vector<float> sums;
  for (MXTensor& tensor : *in) {
    const float* source = tensor.data<float>();
    const long count = tensor.size(), blocks = (count + kBlock - 1) / kBlock;
    sums.assign(blocks, 0.0f);
#pragma omp parallel for schedule(static) if (blocks > 4)
    for (long block = 0; block < blocks; ++block) {
      const long last = std::min(count, (block + 1) * kBlock);
      float sum = 0;
#pragma omp simd reduction(+ : sum)
      for (long j = block * kBlock; j < last; ++j) sum += source[j] * source[j];
      sums[block] = sum;
    }
    for (float sum : sums) total += sum;
  }
  data(out, 0)[0] = total;
  return MX_SUCCESS;
}

}  // namespace

REGISTER_OP(dure_layer_norm)
    .setForward(norm_forward, "cpu").setBackward(norm_backward, "cpu")
    .setParseAttrs(norm_count).setInferType(all_float).setInferShape(norm_shape);
REGISTER_OP(dure_causal_attention)
    .setForward(attention_forward, "cpu").setBackward(attention_backward, "cpu")
    .setParseAttrs(attention_count).setInferType(all_float).setInferShape(attention_shape);
REGISTER_OP(dure_cross_entropy)
    .setForward(entropy_forward, "cpu").setBackward(entropy_backward, "cpu")
    .setParseAttrs(entropy_count).setInferType(all_float).setInferShape(entropy_shape);
REGISTER_OP(dure_adamw)
    .setForward(adam_step, "cpu")
    .setParseAttrs(adam_count).setInferType(all_float).setInferShape(one_number).setMutateInputs(adam_changes);

REGISTER_OP(dure_sum_squares)
    .setForward(squares_sum, "cpu")
    .setParseAttrs(squares_count).setInferType(all_float).setInferShape(one_number);

MXReturnValue initialize(int version) {
  if (version < 10700) {
    MX_ERROR_MSG << "MXNet " << version << " is too old for these operators";
    return MX_FAIL;
  }
  // Attention is parallel over heads already; a product inside one head must not start threads of its own
  if (openblas_set_num_threads != nullptr) openblas_set_num_threads(1);
  return MX_SUCCESS;
}
