// faulty FAULT: does what a sanitizer must report (built with the sanitizers only;
// structure/test_sanitizers.py). None: ends well.
#include <cstdlib>
#include <limits>
#include <string>
#include <thread>

namespace {

int* volatile address = nullptr;  // so that the compiler sees through nothing
volatile int number = std::numeric_limits<int>::max();

void leak() {
  address = new int[25];
  address = nullptr;
}

void use_after_free() {
  address = new int(1);
  delete address;
  number = *address;
}

void overflow() { number = number + 1; }

void race() {
  int counter = 0;
  std::thread other([&] { ++counter; });
  ++counter;
  other.join();
}

}  // namespace

int main(int argc, char** argv) {
  const std::string fault = argc > 1 ? argv[1] : "";
  if (fault == "leak") leak();
  if (fault == "use-after-free") use_after_free();
  if (fault == "overflow") overflow();
  if (fault == "race") race();
  return EXIT_SUCCESS;
}
