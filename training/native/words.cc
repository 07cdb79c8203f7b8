// A store of words and their ids, for training.corpus.words: text in, ids out, and a list of the words it has not seen yet.
//
// Texts are UTF-8 without NUL, joined by NUL; words are what spaces (U+0020) separate. One thread a store.

#include <cstdint>
#include <cstring>
#include <vector>

namespace {

constexpr std::size_t kMostWords = 1 << 18;  // about 14 MB; over that the store starts anew with the next text
constexpr std::size_t kGroup = 64;           // unknown regular words asked for in one line
constexpr std::uint32_t kEnd = 0xFFFFFFFF;   // in a text as word numbers: here a document ends

struct Word {
  std::uint64_t hash;
  std::uint32_t key, length;  // its bytes
  std::uint32_t ids, count;   // what it becomes
};

std::uint64_t hash_of(const char* bytes, std::size_t length) {
  std::uint64_t hash = 0x9E3779B97F4A7C15ull ^ length;
  for (std::size_t at = 0; at < length; at += 8) {
    std::uint64_t block = 0;
    std::memcpy(&block, bytes + at, length - at < 8 ? length - at : 8);
    hash = (hash ^ block) * 0xFF51AFD7ED558CCDull;
    hash ^= hash >> 32;
  }
  return hash;
}

// Printable ASCII, Hangul syllables, single jamo (U+3131 to U+3163): such a word surely becomes one run of pieces that begins with the
// mark of a word, so that many of them can be asked for in one line and told apart again
bool regular(const unsigned char* at, const unsigned char* end) {
  while (at < end) {
    if (*at > 0x20 && *at < 0x7F) {
      ++at;
    } else if (end - at >= 3) {
      const unsigned code = (at[0] & 0x0Fu) << 12 | (at[1] & 0x3Fu) << 6 | (at[2] & 0x3Fu);
      if ((at[0] & 0xF0) != 0xE0 || !((code >= 0xAC00 && code <= 0xD7A3) || (code >= 0x3131 && code <= 0x3163))) return false;
      at += 3;
    } else {
      return false;
    }
  }
  return true;
}

class Store {
 public:
  Store(const std::uint8_t* begins, std::size_t pieces) : begins_(begins, begins + pieces) { clear(); }

  // Turns texts into word numbers and collects the words that are new
  void scan(const char* text, std::size_t size) {
    if (words_.size() > kMostWords) clear();
    line_.clear();
    for (int kind = 0; kind < 2; ++kind) {
      unknown_[kind].clear();
      question_[kind].clear();
    }
    std::size_t begin = 0;
    for (std::size_t at = 0; at <= size; ++at) {
      const char c = at < size ? text[at] : '\0';
      if (c != ' ' && c != '\0') continue;
      if (at > begin) line_.push_back(number_of(text + begin, at - begin));
      if (c == '\0') line_.push_back(kEnd);
      begin = at + 1;
    }
  }

  const std::vector<char>& question(int kind) const { return question_[kind]; }
  std::size_t unknown(int kind) const { return unknown_[kind].size(); }

  // Ids of all new regular words one after the other; false (and an empty store) when there are not as many words in them
  bool learn_regular(const std::int32_t* ids, std::size_t count) {
    std::size_t word = 0;
    const std::vector<std::uint32_t>& unknown = unknown_[0];
    for (std::size_t at = 0; at < count; ++at) {
      if (begins_[ids[at]]) {
        if (word == unknown.size()) return forget();
        words_[unknown[word]].ids = ids_.size();
        words_[unknown[word++]].count = 0;
      } else if (word == 0) {
        return forget();
      }
      ids_.push_back(ids[at]);
      ++words_[unknown[word - 1]].count;
    }
    return word == unknown.size() || forget();
  }

  // Ids of all other new words one after the other, and how many each has
  void learn_odd(const std::int32_t* ids, const std::int32_t* counts) {
    for (std::size_t word = 0; word < unknown_[1].size(); ids += counts[word++]) {
      words_[unknown_[1][word]].ids = ids_.size();
      words_[unknown_[1][word]].count = counts[word];
      ids_.insert(ids_.end(), ids, ids + counts[word]);
    }
  }

  std::size_t tokens() const {
    std::size_t sum = 0;
    for (std::uint32_t number : line_) sum += number == kEnd ? 1 : words_[number].count;
    return sum;
  }

  template <typename Id>
  void emit(Id* out, std::int32_t* sizes, Id end) const {
    const Id* begun = out;
    for (std::uint32_t number : line_) {
      if (number == kEnd) {
        *out++ = end;
        *sizes++ = out - begun;
        begun = out;
        continue;
      }
      const Word& word = words_[number];
      for (std::uint32_t at = 0; at < word.count; ++at) *out++ = static_cast<Id>(ids_[word.ids + at]);
    }
  }

 private:
  std::uint32_t number_of(const char* bytes, std::size_t length) {
    const std::uint64_t hash = hash_of(bytes, length);
    std::size_t slot = hash & (table_.size() - 1);
    for (; table_[slot] != 0; slot = (slot + 1) & (table_.size() - 1)) {
      const Word& word = words_[table_[slot] - 1];
      if (word.hash == hash && word.length == length && std::memcmp(&keys_[word.key], bytes, length) == 0) return table_[slot] - 1;
    }
    const std::uint32_t number = words_.size();
    words_.push_back({hash, static_cast<std::uint32_t>(keys_.size()), static_cast<std::uint32_t>(length), 0, 0});
    keys_.insert(keys_.end(), bytes, bytes + length);
    table_[slot] = number + 1;
    ask(number, bytes, length);
    if (2 * words_.size() > table_.size()) grow();
    return number;
  }

  void ask(std::uint32_t number, const char* bytes, std::size_t length) {
    const auto* raw = reinterpret_cast<const unsigned char*>(bytes);
    const int kind = regular(raw, raw + length) ? 0 : 1;
    std::vector<char>& question = question_[kind];
    if (!unknown_[kind].empty()) question.push_back(kind == 0 && unknown_[kind].size() % kGroup != 0 ? ' ' : '\0');
    question.insert(question.end(), bytes, bytes + length);
    unknown_[kind].push_back(number);
  }

  void grow() {
    table_.assign(2 * table_.size(), 0);
    for (std::size_t number = 0; number < words_.size(); ++number) {
      std::size_t slot = words_[number].hash & (table_.size() - 1);
      while (table_[slot] != 0) slot = (slot + 1) & (table_.size() - 1);
      table_[slot] = number + 1;
    }
  }

  bool forget() {
    clear();
    line_.clear();
    return false;
  }

  void clear() {
    words_ = {};
    keys_ = {};
    ids_ = {};
    table_.assign(1 << 12, 0);
    table_.shrink_to_fit();
  }

  std::vector<std::uint8_t> begins_;  // for each piece: whether it begins with the mark of a word
  std::vector<Word> words_;
  std::vector<std::uint32_t> table_;  // open addressing: 0, or a word's number and one
  std::vector<char> keys_;
  std::vector<std::int32_t> ids_;
  std::vector<std::uint32_t> line_, unknown_[2];
  std::vector<char> question_[2];
};

}  // namespace

extern "C" {

void* dure_words_new(const std::uint8_t* begins, std::int64_t pieces) { return new Store(begins, pieces); }

void dure_words_free(void* store) { delete static_cast<Store*>(store); }

void dure_words_scan(void* store, const char* text, std::int64_t size) { static_cast<Store*>(store)->scan(text, size); }

const char* dure_words_question(void* store, std::int32_t kind, std::int64_t* size, std::int64_t* words) {
  const std::vector<char>& question = static_cast<Store*>(store)->question(kind);
  *size = question.size();
  *words = static_cast<Store*>(store)->unknown(kind);
  return question.data();
}

std::int32_t dure_words_learn_regular(void* store, const std::int32_t* ids, std::int64_t count) {
  return static_cast<Store*>(store)->learn_regular(ids, count);
}

void dure_words_learn_odd(void* store, const std::int32_t* ids, const std::int32_t* counts) {
  static_cast<Store*>(store)->learn_odd(ids, counts);
}

std::int64_t dure_words_tokens(void* store) { return static_cast<Store*>(store)->tokens(); }

void dure_words_emit(void* store, void* out, std::int32_t width, std::int32_t* sizes, std::int32_t end) {
  if (width == 2) {
    static_cast<Store*>(store)->emit(static_cast<std::uint16_t*>(out), sizes, static_cast<std::uint16_t>(end));
  } else {
    static_cast<Store*>(store)->emit(static_cast<std::int32_t*>(out), sizes, end);
  }
}

}  // extern "C"
