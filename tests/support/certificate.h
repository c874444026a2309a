// Certificates and keys for tests of TLS, as PEM files in a folder of the test's own.
#pragma once

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>

namespace batchmax {

class Certificate {
 public:
  // For `names` in OpenSSL's form, "DNS:localhost,IP:127.0.0.1"; signed by `issuer`, or by itself where there
  // is none. An empty list: an authority.
  Certificate(const std::string& folder, const std::string& file, const std::string& names,
              const Certificate* issuer = nullptr)
      : key_(EVP_EC_gen("P-256"), EVP_PKEY_free), x509_(X509_new(), X509_free), path_(folder + "/" + file) {
    X509_set_version(x509_.get(), X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(x509_.get()), issuer == nullptr ? 1 : 2);
    X509_gmtime_adj(X509_getm_notBefore(x509_.get()), -3600);
    X509_gmtime_adj(X509_getm_notAfter(x509_.get()), 3600);
    X509_set_pubkey(x509_.get(), key_.get());
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x509_.get()), "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>(file.c_str()), -1, -1, 0);
    const Certificate& signer = issuer == nullptr ? *this : *issuer;
    X509_set_issuer_name(x509_.get(), X509_get_subject_name(signer.x509_.get()));
    add(NID_basic_constraints, names.empty() ? "critical,CA:TRUE" : "CA:FALSE");
    if (!names.empty()) add(NID_subject_alt_name, names);
    if (X509_sign(x509_.get(), signer.key_.get(), EVP_sha256()) == 0) throw std::runtime_error("not signed");
    write(certificate_file(), [this](FILE* to) { return PEM_write_X509(to, x509_.get()); });
    write(key_file(), [this](FILE* to) {
      return PEM_write_PrivateKey(to, key_.get(), nullptr, nullptr, 0, nullptr, nullptr);
    });
  }

  std::string certificate_file() const { return path_ + ".crt"; }
  std::string key_file() const { return path_ + ".key"; }

 private:
  void add(int what, const std::string& value) {
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, what, value.c_str());
    if (extension == nullptr) throw std::runtime_error("no such extension: " + value);
    X509_add_ext(x509_.get(), extension, -1);
    X509_EXTENSION_free(extension);
  }
  template <typename Print>
  static void write(const std::string& file, Print print) {
    const std::unique_ptr<FILE, int (*)(FILE*)> to(std::fopen(file.c_str(), "w"), std::fclose);
    if (!to || print(to.get()) != 1) throw std::runtime_error(file + " was not written");
  }

  std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)> key_;
  std::unique_ptr<X509, void (*)(X509*)> x509_;
  std::string path_;
};

}  // namespace batchmax
