// A target in C++17: schedule, marginal and conversions in double precision, without libraries.
//
//     c++ -std=c++17 -O2 -o target target.cpp
//     python -m pytest --pyargs refdiff_validation --refdiff-target-exec ./target
//
// Replace the first part by calls of your library, and keep the rest, which speaks the protocol (spec/protocol.md).
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iostream>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

// A value of JSON; of its members only those of its kind are used.
struct Json {
  enum Kind { Null, Boolean, Number, Text, List, Object } kind = Null;
  bool flag = false;
  double number = 0;
  std::string text;
  std::vector<Json> items;
  std::map<std::string, Json> members;

  const Json &operator[](const std::string &name) const {
    const auto found = members.find(name);
    if (found == members.end()) throw std::runtime_error("expected a member '" + name + "'");
    return found->second;
  }
};

// An array in C order. Floats and the indices of a chain are kept as doubles, which hold both exactly.
struct Array {
  std::vector<std::size_t> shape;
  std::vector<double> data;
};
using Fields = std::vector<std::pair<std::string, Array>>;

// A call that the library does not serve throws Unsupported, with the reason.
struct Unsupported : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// ---------------------------------------------------------------------------------------- The library and its claim.

const char *const CLAIM =
    R"({"name": "c++", "version": "1.0", "dtype": "float64", "processes": ["Linear", "Cosine", "Chain"],)"
    R"( "capabilities": ["schedule", "perturb", "convert"]})";
const char *const METHODS = R"(["coefficients", "perturb", "convert"])";

// log alpha_bar and 1 - alpha_bar at one time, and what follows from them.
struct Scales {
  double log, rest;
  double bar() const { return std::exp(log); }
  double alpha() const { return std::exp(log / 2); }
  double sigma() const { return std::sqrt(rest); }
};
using Schedule = std::function<Scales(double)>;

Schedule linear(double beta_min, double beta_max) {
  return [=](double t) {
    const double log = -t * (beta_min + 0.5 * (beta_max - beta_min) * t);
    return Scales{log, -std::expm1(log)};
  };
}

Schedule cosine(double s) {
  const double half = std::acos(-1.0) / 2 / (1 + s);
  const double start = std::pow(std::cos(half * s), 2);
  return [=](double t) {
    const double bar = std::pow(std::sin(half * (1 - t)), 2) / start;
    if (bar < 0.5) return Scales{std::log(bar), 1 - bar};
    const double rest = std::sin(half * t) * std::sin(half * (2 * s + t)) / start;
    return Scales{std::log1p(-rest), rest};
  };
}

Schedule chain(const std::vector<Json> &betas) {
  std::vector<double> logs{0.0};
  for (const Json &beta : betas) logs.push_back(logs.back() + std::log1p(-beta.number));
  return [=](double k) {
    const double log = logs.at(static_cast<std::size_t>(k));
    return Scales{log, -std::expm1(log)};
  };
}

Schedule build(const Json &process) {
  const std::string &kind = process["kind"].text;
  if (kind == "Linear") return linear(process["beta_min"].number, process["beta_max"].number);
  if (kind == "Cosine") return cosine(process["s"].number);
  if (kind == "Chain") return chain(process["betas"].items);
  throw Unsupported("no process of the kind " + kind);
}

Fields coefficients(const Schedule &at, const Array &t) {
  const Array none{t.shape, {}};
  Fields found{{"log_alpha_bar", none}, {"alpha_bar", none}, {"alpha", none}, {"sigma", none}};
  for (const double time : t.data) {
    const Scales q = at(time);
    const double values[] = {q.log, q.bar(), q.alpha(), q.sigma()};
    for (std::size_t i = 0; i < found.size(); i++) found[i].second.data.push_back(values[i]);
  }
  return found;
}

// f(scales, index) for each number of an array shaped as `like`, whose rows belong to the times t.
template <typename Formula> Array over(const Array &like, const Array &t, const Schedule &at, Formula f) {
  Array result{like.shape, std::vector<double>(like.data.size())};
  const std::size_t width = like.data.size() / t.data.size();
  for (std::size_t row = 0; row < t.data.size(); row++) {
    const Scales q = at(t.data[row]);
    for (std::size_t i = row * width; i < (row + 1) * width; i++) result.data[i] = f(q, i);
  }
  return result;
}

Array perturb(const Schedule &at, const Array &x_0, const Array &eps, const Array &t) {
  return over(x_0, t, at, [&](const Scales &q, std::size_t i) {
    return q.alpha() * x_0.data[i] + q.sigma() * eps.data[i];
  });
}

double converted(const Scales &q, double y, double x_t, const std::string &source, const std::string &to) {
  const double alpha = q.alpha(), sigma = q.sigma();
  double x_0 = y, eps = y;
  if (source == "v") x_0 = alpha * x_t - sigma * y, eps = sigma * x_t + alpha * y;
  if (source == "score") eps = -sigma * y;
  if (source == "x_0") eps = (x_t - alpha * y) / sigma;
  if (source == "eps" || source == "score") x_0 = (x_t - sigma * eps) / alpha;
  if (to == "x_0") return x_0;
  if (to == "eps") return eps;
  return to == "v" ? alpha * eps - sigma * x_0 : -eps / sigma;
}

Array convert(const Schedule &at, const Array &value, const Array &x_t, const Array &t, const Json &from, const Json &to) {
  return over(value, t, at, [&](const Scales &q, std::size_t i) {
    return converted(q, value.data[i], x_t.data[i], from.text, to.text);
  });
}

// ------------------------------------------------------------------------------------------------------------- JSON.

class Reader {
public:
  explicit Reader(const std::string &line) : at(line.c_str()) {}

  Json value() {
    Json found;
    switch (next()) {
    case '{': return object();
    case '[': return list();
    case '"': found.kind = Json::Text, found.text = text(); return found;
    case 't': word("true"), found.kind = Json::Boolean, found.flag = true; return found;
    case 'f': word("false"), found.kind = Json::Boolean; return found;
    case 'n': word("null"); return found;
    default: return number();
    }
  }

private:
  const char *at;

  [[noreturn]] void fail() const { throw std::runtime_error("expected JSON"); }
  char next() {
    while (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n') at++;
    return *at;
  }
  bool take(char mark) { return next() == mark ? at++, true : false; }
  void need(char mark) { if (!take(mark)) fail(); }
  void word(const char *letters) {
    if (std::strncmp(at, letters, std::strlen(letters)) != 0) fail();
    at += std::strlen(letters);
  }
  Json number() {
    Json found;
    char *end = nullptr;
    found.kind = Json::Number, found.number = std::strtod(at, &end);
    if (end == at) fail();
    at = end;
    return found;
  }
  Json list() {
    Json found;
    found.kind = Json::List;
    need('[');
    if (take(']')) return found;
    do found.items.push_back(value()); while (take(','));
    need(']');
    return found;
  }
  Json object() {
    Json found;
    found.kind = Json::Object;
    need('{');
    if (take('}')) return found;
    do {
      if (next() != '"') fail();
      const std::string name = text();
      need(':');
      found.members[name] = value();
    } while (take(','));
    need('}');
    return found;
  }
  std::string text() {
    std::string found;
    for (at++; *at != '"'; at++) {
      if (*at == '\0') fail();
      if (*at != '\\') { found += *at; continue; }
      const char *const marks = "\"\\/bfnrt", *const mark = std::strchr(marks, *++at);
      if (*at == 'u') found += '?', at += 4; // only labels have such letters
      else if (*at != '\0' && mark) found += "\"\\/\b\f\n\r\t"[mark - marks];
      else fail();
    }
    at++;
    return found;
  }
};

std::string quoted(const std::string &text) {
  std::string found = "\"";
  for (const char letter : text) {
    if (letter == '"' || letter == '\\') found += '\\';
    found += static_cast<unsigned char>(letter) < 32 ? ' ' : letter;
  }
  return found + '"';
}

std::string integer(const Json &value) { return std::to_string(static_cast<long long>(value.number)); }

// ----------------------------------------------------------------------- Arrays: base64 of little-endian bytes.

const std::string DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

std::string to_base64(const std::vector<std::uint8_t> &bytes) {
  std::string found;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t three = 0;
    for (std::size_t j = 0; j < 3; j++) three = three << 8 | (i + j < bytes.size() ? bytes[i + j] : 0);
    for (std::size_t j = 0; j < 4; j++) found += i + j <= bytes.size() ? DIGITS[three >> (18 - 6 * j) & 63] : '=';
  }
  return found;
}

std::vector<std::uint8_t> from_base64(const std::string &text) {
  std::vector<std::uint8_t> found;
  std::uint32_t bits = 0;
  int count = 0;
  for (const char letter : text.substr(0, text.find('='))) {
    bits = bits << 6 | static_cast<std::uint32_t>(DIGITS.find(letter)), count += 6;
    if (count >= 8) count -= 8, found.push_back(static_cast<std::uint8_t>(bits >> count));
  }
  return found;
}

Array decoded(const Json &value) {
  Array found;
  for (const Json &size : value["shape"].items) found.shape.push_back(static_cast<std::size_t>(size.number));
  const bool whole = value["dtype"].text == "int64";
  if (!whole && value["dtype"].text != "float64") throw std::runtime_error("expected float64 or int64");
  const std::vector<std::uint8_t> bytes = from_base64(value["data"].text);
  for (std::size_t i = 0; i + 8 <= bytes.size(); i += 8) {
    std::uint64_t word = 0;
    for (std::size_t j = 0; j < 8; j++) word |= static_cast<std::uint64_t>(bytes[i + j]) << (8 * j);
    double number;
    std::memcpy(&number, &word, 8);
    found.data.push_back(whole ? static_cast<double>(static_cast<std::int64_t>(word)) : number);
  }
  return found;
}

std::string encoded(const Array &array) {
  std::vector<std::uint8_t> bytes;
  for (const double number : array.data) {
    std::uint64_t word;
    std::memcpy(&word, &number, 8);
    for (int j = 0; j < 8; j++) bytes.push_back(static_cast<std::uint8_t>(word >> (8 * j)));
  }
  std::string shape;
  for (const std::size_t size : array.shape) shape += (shape.empty() ? "" : ", ") + std::to_string(size);
  return R"({"dtype": "float64", "shape": [)" + shape + R"(], "data": ")" + to_base64(bytes) + "\"}";
}

std::string encoded(const Fields &fields) {
  std::string found;
  for (const auto &[name, array] : fields) found += (found.empty() ? "" : ", ") + quoted(name) + ": " + encoded(array);
  return R"({"fields": {)" + found + "}}";
}

// --------------------------------------------------------------------------------------------------------- Messages.

std::map<std::string, Schedule> objects;
int handles = 0;

std::string result(const Json &request) {
  if (request["do"].text == "build") {
    const Schedule built = build(request["process"]);
    const std::string handle = std::to_string(++handles);
    objects[handle] = built;
    return R"({"handle": )" + handle + R"(, "methods": )" + METHODS + "}";
  }
  const Schedule &at = objects.at(integer(request["object"]));
  const std::string &method = request["method"].text;
  const auto argument = [&](std::size_t i) -> const Json & { return request["arguments"].items.at(i); };
  const auto array = [&](std::size_t i) { return decoded(argument(i)); };
  if (method == "coefficients") return encoded(coefficients(at, array(0)));
  if (method == "perturb") return encoded(perturb(at, array(0), array(1), array(2)));
  if (method == "convert") return encoded(convert(at, array(0), array(1), array(2), argument(3), argument(4)));
  throw std::runtime_error("no such method");
}

std::string answer(const Json &request) {
  const std::string start = R"({"id": )" + integer(request["id"]);
  try {
    return start + R"(, "result": )" + result(request) + "}";
  } catch (const Unsupported &refusal) {
    return start + R"(, "unsupported": )" + quoted(refusal.what()) + "}";
  } catch (const std::exception &error) {
    return start + R"(, "error": {"message": )" + quoted(error.what()) + "}}";
  }
}

int main() {
  std::cout << R"({"protocol": 1, "claim": )" << CLAIM << "}" << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    const Json request = Reader(line).value();
    if (request["do"].text == "release") objects.erase(integer(request["object"]));
    else std::cout << answer(request) << std::endl;
  }
}
