#!/bin/sh
# Builds llama.cpp's server and benchmark from the source tree inside the llama-cpp-python package
# (pinned by version and SHA-256) into build/peers, as the peer of `make bench-peers`.
#
# GGML_NATIVE stays off on machines with AVX-512: with gcc 12 the AMX backend that it would choose
# crashes, and the AVX-512 build is the fastest that runs.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
here=$root/build/peers
version=0.3.36
sha256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e

mkdir -p "$here"
if [ ! -d "$here/source" ]; then
    printf 'llama-cpp-python==%s --hash=sha256:%s\n' "$version" "$sha256" > "$here/requirements.txt"
    python3 -m pip download --disable-pip-version-check --no-deps --no-binary :all: \
        --require-hashes -r "$here/requirements.txt" -d "$here"
    mkdir -p "$here/unpack"
    tar -xzf "$here/llama_cpp_python-$version.tar.gz" -C "$here/unpack"
    mv "$here/unpack/llama_cpp_python-$version" "$here/source"
fi
[ "${1:-}" = source ] && exit 0

flags="-DGGML_NATIVE=ON"
if grep -q avx512_vnni /proc/cpuinfo; then
    flags="-DGGML_NATIVE=OFF -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_BMI2=ON -DGGML_FMA=ON
           -DGGML_F16C=ON -DGGML_SSE42=ON -DGGML_AVX512=ON -DGGML_AVX512_VBMI=ON
           -DGGML_AVX512_VNNI=ON"
    grep -q avx512_bf16 /proc/cpuinfo && flags="$flags -DGGML_AVX512_BF16=ON"
fi
# shellcheck disable=SC2086
cmake -S "$here/source/vendor/llama.cpp" -B "$here/build" -DCMAKE_BUILD_TYPE=Release \
    -DBUILD_SHARED_LIBS=ON -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF \
    -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_TOOLS=ON -DLLAMA_BUILD_SERVER=ON \
    -DLLAMA_BUILD_UI=OFF -DLLAMA_BUILD_WEBUI=OFF $flags
cmake --build "$here/build" -j"$(nproc)" --target llama-server llama-batched-bench
