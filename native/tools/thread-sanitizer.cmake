# Whether programs run under ThreadSanitizer here, LF_THREAD_SANITIZER, and what to start them by, LF_FIXED_ADDRESSES: now and
# then the system puts a program where the sanitizer's shadow memory is to be, which it cannot where it is told to put all
# programs at the same place.
include(CheckCXXSourceRuns)
set(CMAKE_REQUIRED_FLAGS -fsanitize=thread)
check_cxx_source_runs("int main() { return 0; }" LF_THREAD_SANITIZER)
unset(CMAKE_REQUIRED_FLAGS)
set(LF_FIXED_ADDRESSES "")
find_program(LF_SETARCH setarch)
if(LF_SETARCH)
  execute_process(COMMAND ${LF_SETARCH} ${CMAKE_HOST_SYSTEM_PROCESSOR} -R true RESULT_VARIABLE refused OUTPUT_QUIET ERROR_QUIET)
  if(refused EQUAL 0)
    set(LF_FIXED_ADDRESSES ${LF_SETARCH} ${CMAKE_HOST_SYSTEM_PROCESSOR} -R)
  endif()
endif()

# The sanitizer of GCC 12 now and then asks for half the address space while a program's threads map memory, and gives up (4 of 48
# runs of cuda_nccl_threads, four at a time, on a kernel 6.18). That says nothing of the program, which is run again.
set(LF_UNDER_THREAD_SANITIZER sh ${CMAKE_CURRENT_LIST_DIR}/thread-sanitizer.sh ${LF_FIXED_ADDRESSES})
