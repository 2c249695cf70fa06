# lateforge_cuda.so: the kernels compiled by nvcc, and the runtime around them. nvcc is called as a plain command, so that
# a toolkit made of NVIDIA's wheels serves as well as an installed one. cudart is linked in; the driver, cuBLASLt and NCCL
# are opened at run time, so the library loads anywhere and says how many devices there are.
set(LATEFORGE_CUDA_TOOLKIT "$ENV{CUDA_HOME}" CACHE PATH "Folder of the CUDA toolkit (native/tools/cuda-toolkit.cjs)")
set(LATEFORGE_CUDA_ARCH "80;90" CACHE STRING "Architectures, oldest first, e.g. 90 or 80;90a; the last one also as PTX")

find_program(LF_NVCC nvcc HINTS ${LATEFORGE_CUDA_TOOLKIT}/bin NO_CACHE)
if(NOT LF_NVCC)
  message(FATAL_ERROR "no nvcc in ${LATEFORGE_CUDA_TOOLKIT}/bin: pass -DLATEFORGE_CUDA_TOOLKIT=FOLDER "
                      "(node native/tools/cuda-toolkit.cjs finds or fetches one), or -DLATEFORGE_CUDA=OFF")
endif()
get_filename_component(LF_TOOLKIT ${LF_NVCC} REALPATH)
get_filename_component(LF_TOOLKIT ${LF_TOOLKIT} DIRECTORY)
get_filename_component(LF_TOOLKIT ${LF_TOOLKIT} DIRECTORY)
find_library(LF_CUDART cudart_static HINTS ${LF_TOOLKIT}/lib64 ${LF_TOOLKIT}/lib NO_CACHE REQUIRED)

set(LF_NVCC_FLAGS -std=c++20 -O3 --expt-relaxed-constexpr -Xptxas=-v -Xcompiler=-fPIC,-fvisibility=hidden,-Wall)
set(LF_CUDA_NAMES)
foreach(arch ${LATEFORGE_CUDA_ARCH})
  list(APPEND LF_NVCC_FLAGS -gencode=arch=compute_${arch},code=sm_${arch})
  list(APPEND LF_CUDA_NAMES sm_${arch})
endforeach()
list(GET LATEFORGE_CUDA_ARCH -1 arch)
list(APPEND LF_NVCC_FLAGS -gencode=arch=compute_${arch},code=compute_${arch})
list(APPEND LF_CUDA_NAMES compute_${arch})
string(REPLACE ";" " " LF_CUDA_NAMES "${LF_CUDA_NAMES}")

get_filename_component(LF_SOURCES ${CMAKE_CURRENT_LIST_DIR}/../.. ABSOLUTE)

# Compiles a .cu file; the object goes into the list named `objects`.
function(lf_nvcc source objects)
  file(RELATIVE_PATH name ${LF_SOURCES} ${source})
  string(REGEX REPLACE "^native/|\\.cu$" "" name ${name})
  string(REPLACE "/" "_" name ${name})
  set(object ${CMAKE_CURRENT_BINARY_DIR}/${name}.o)
  add_custom_command(
    OUTPUT ${object}
    BYPRODUCTS ${object}.ptxas
    COMMAND sh ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/nvcc.sh ${object} ${LF_NVCC} ${LF_NVCC_FLAGS} -MD -MF ${object}.d
            -c ${source}
    DEPENDS ${source} ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/nvcc.sh
    DEPFILE ${object}.d
    COMMENT "nvcc ${name}.cu (${LF_CUDA_NAMES})"
    VERBATIM)
  set(${objects} ${${objects}} ${object} PARENT_SCOPE)
endfunction()

set(LF_CUDA_OBJECTS)
foreach(source ${LF_CUDA_KERNELS})
  lf_nvcc(${source} LF_CUDA_OBJECTS)
endforeach()
set(LF_CUDA_RUNTIME_OBJECTS)
lf_nvcc(${CMAKE_CURRENT_LIST_DIR}/runtime/peak.cu LF_CUDA_RUNTIME_OBJECTS)
add_library(cuda_kernels STATIC ${LF_CUDA_OBJECTS})
set_target_properties(cuda_kernels PROPERTIES LINKER_LANGUAGE CXX)

set(LF_CUDA_DIR ${CMAKE_CURRENT_LIST_DIR})
set(LF_NCCL_DIR ${LF_SOURCES}/native/distributed/nccl)
set(LF_CUDA_TESTS ${CMAKE_CURRENT_LIST_DIR}/../../test/native/cuda)
add_library(lateforge_cuda MODULE ${LF_CUDA_RUNTIME_OBJECTS}
  ${LF_CUDA_DIR}/gemm_lt.cc ${LF_CUDA_DIR}/lt_check.cc ${LF_NCCL_DIR}/check.cc ${LF_CUDA_DIR}/runtime/backend.cc
  ${LF_CUDA_DIR}/runtime/devices.cc ${LF_CUDA_DIR}/runtime/library.cc ${LF_NCCL_DIR}/channel.cc
  ${LF_CUDA_DIR}/runtime/stream.cc)
set_target_properties(lateforge_cuda PROPERTIES PREFIX "")
target_include_directories(lateforge_cuda SYSTEM PRIVATE ${LF_TOOLKIT}/include)
target_compile_definitions(lateforge_cuda PRIVATE "LF_CUDA_ARCHITECTURES=\"${LF_CUDA_NAMES}\"")
# Nothing but lateforge_backend leaves the library: cudart's symbols would clash with those of another copy.
target_link_options(lateforge_cuda PRIVATE -Wl,--version-script=${LF_CUDA_DIR}/exports.map -Wl,--no-undefined)
set_target_properties(lateforge_cuda PROPERTIES LINK_DEPENDS ${LF_CUDA_DIR}/exports.map)
target_link_libraries(lateforge_cuda PRIVATE cuda_kernels ${LF_CUDART} Threads::Threads ${CMAKE_DL_LIBS} rt)
if(LF_OUTPUT)
  set_target_properties(lateforge_cuda PROPERTIES LIBRARY_OUTPUT_DIRECTORY ${LF_OUTPUT})
endif()

# All that is built here.
add_custom_target(cuda DEPENDS lateforge_cuda)

# The runtime on a device that is not there: host code only, so it runs anywhere.
add_executable(cuda_runtime_test
  ${LF_CUDA_TESTS}/runtime_test.cc ${LF_CUDA_TESTS}/fake_cudart.cc ${LF_CUDA_DIR}/runtime/stream.cc)
target_include_directories(cuda_runtime_test SYSTEM PRIVATE ${LF_TOOLKIT}/include)
target_link_libraries(cuda_runtime_test PRIVATE Threads::Threads)
add_dependencies(cuda cuda_runtime_test)
add_test(NAME cuda_runtime COMMAND cuda_runtime_test)

# For a machine with a GPU (npm run verify:gpu); without one the tests are skipped, and say why.
function(lf_gpu_program target source)
  set(LF_PROGRAM_OBJECTS)
  lf_nvcc(${source} LF_PROGRAM_OBJECTS)
  add_executable(${target} ${LF_PROGRAM_OBJECTS} ${LF_CUDA_DIR}/gemm_lt.cc ${LF_CUDA_DIR}/runtime/library.cc)
  set_target_properties(${target} PROPERTIES LINKER_LANGUAGE CXX)
  target_include_directories(${target} SYSTEM PRIVATE ${LF_TOOLKIT}/include)
  target_link_libraries(${target} PRIVATE cuda_kernels core ${LF_CUDART} Threads::Threads ${CMAKE_DL_LIBS} rt)
  add_dependencies(cuda ${target})
endfunction()
foreach(name attention peak gemm maxsim primitives ranks)
  lf_gpu_program(gpu_${name}_test ${LF_CUDA_TESTS}/${name}_test.cu)
  add_test(NAME gpu_${name} COMMAND gpu_${name}_test)
  set_tests_properties(gpu_${name} PROPERTIES SKIP_RETURN_CODE 77)
endforeach()
foreach(name attention maxsim)
  lf_gpu_program(gpu_${name}_ladder ${LF_CUDA_DIR}/../../bench/cuda/${name}_ladder.cu)
endforeach()

# cuBLASLt's caller against a library that follows its rules on the host, with the test of gemm.h.
add_library(fake_lt MODULE ${LF_CUDA_TESTS}/fake_lt.cc)
set_target_properties(fake_lt PROPERTIES PREFIX "" OUTPUT_NAME libcublasLt SUFFIX ".so.13"
                      CXX_VISIBILITY_PRESET default LIBRARY_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/fake)
target_include_directories(fake_lt SYSTEM PRIVATE ${LF_TOOLKIT}/include)
set_source_files_properties(${LF_CUDA_TESTS}/gemm_test.cu PROPERTIES LANGUAGE CXX COMPILE_OPTIONS "-xc++")
add_executable(cuda_lt_test
  ${LF_CUDA_TESTS}/gemm_test.cu ${LF_CUDA_TESTS}/fake_cudart.cc ${LF_CUDA_DIR}/gemm_lt.cc ${LF_CUDA_DIR}/runtime/library.cc
  ${LF_CUDA_DIR}/host/executor.cc ${LF_CUDA_DIR}/host/fiber.cc ${LF_CUDA_DIR}/host/memory.cc)
target_include_directories(cuda_lt_test SYSTEM PRIVATE ${LF_TOOLKIT}/include)
target_link_libraries(cuda_lt_test PRIVATE Threads::Threads ${CMAKE_DL_LIBS})
add_dependencies(cuda_lt_test fake_lt)
add_dependencies(cuda cuda_lt_test)
add_test(NAME cuda_lt COMMAND cuda_lt_test)
set_tests_properties(cuda_lt PROPERTIES ENVIRONMENT LATEFORGE_CUDA_LIB_PATH=${CMAKE_CURRENT_BINARY_DIR}/fake)

# The group over NCCL, against a library that follows its rules on threads; once more under ThreadSanitizer, where it works.
function(lf_nccl_tests suffix)
  set(start "")
  if(suffix)
    set(start ${LF_UNDER_THREAD_SANITIZER})
  endif()
  set(fake ${CMAKE_CURRENT_BINARY_DIR}/fake${suffix})
  add_library(fake_nccl${suffix} MODULE ${LF_CUDA_TESTS}/fake_nccl.cc)
  set_target_properties(fake_nccl${suffix} PROPERTIES PREFIX "" OUTPUT_NAME libnccl SUFFIX ".so.2"
                        LIBRARY_OUTPUT_DIRECTORY ${fake})
  set(targets fake_nccl${suffix})
  foreach(name nccl nccl_faults)
    set(target cuda_${name}${suffix}_test)
    add_executable(${target}
      ${LF_CUDA_TESTS}/${name}_test.cc ${LF_CUDA_TESTS}/fake_cudart.cc ${LF_CUDA_TESTS}/fake_kernels.cc
      ${LF_CUDA_DIR}/runtime/library.cc ${LF_NCCL_DIR}/channel.cc ${LF_CUDA_DIR}/runtime/stream.cc
      ${LF_NCCL_DIR}/../host_group.cc ${LF_NCCL_DIR}/../host_transfer.cc ${LF_CUDA_DIR}/../platform/posix.cc)
    target_link_libraries(${target} PRIVATE Threads::Threads ${CMAKE_DL_LIBS})
    add_dependencies(${target} fake_nccl${suffix})
    add_dependencies(cuda ${target})
    add_test(NAME cuda_${name}${suffix} COMMAND ${start} $<TARGET_FILE:${target}>)
    set_tests_properties(cuda_${name}${suffix} PROPERTIES ENVIRONMENT LATEFORGE_CUDA_LIB_PATH=${fake})
    list(APPEND targets ${target})
  endforeach()
  foreach(target ${targets})
    # The library takes fake_cudart from the program.
    set_target_properties(${target} PROPERTIES ENABLE_EXPORTS ON CXX_VISIBILITY_PRESET default)
    target_include_directories(${target} SYSTEM PRIVATE ${LF_TOOLKIT}/include)
    target_compile_options(${target} PRIVATE ${ARGN})
    target_link_options(${target} PRIVATE ${ARGN})
  endforeach()
endfunction()
lf_nccl_tests("")
if(NOT LF_SANITIZE AND NOT CMAKE_CROSSCOMPILING)
  include(${LF_CUDA_DIR}/../tools/thread-sanitizer.cmake)
  if(LF_THREAD_SANITIZER)
    lf_nccl_tests(_threads -fsanitize=thread)
  endif()
endif()

# The first of them for a machine with GPUs and the real one.
add_test(NAME gpu_nccl COMMAND gpu_nccl_test)
set_tests_properties(gpu_nccl PROPERTIES SKIP_RETURN_CODE 77)
add_executable(gpu_nccl_test
  ${LF_CUDA_TESTS}/nccl_test.cc ${LF_CUDA_DIR}/gemm_lt.cc ${LF_CUDA_DIR}/runtime/library.cc
  ${LF_NCCL_DIR}/channel.cc ${LF_CUDA_DIR}/runtime/stream.cc)
target_include_directories(gpu_nccl_test SYSTEM PRIVATE ${LF_TOOLKIT}/include)
target_link_libraries(gpu_nccl_test PRIVATE cuda_kernels core ${LF_CUDART} Threads::Threads ${CMAKE_DL_LIBS} rt)
add_dependencies(cuda gpu_nccl_test)
